"""Two small plots, written as SVG by hand: points of share used, and a line of calls per second."""

from __future__ import annotations

from collections.abc import Sequence

from bench.filling.cases import Row
from bench.filling.door import SHAPES

WIDTH, HEIGHT, LEFT, TOP = 860, 300, 60, 30
COLOURS = ("#1b6ca8", "#e07a1f", "#2e8b57", "#8a4fbf", "#c0392b")
LOWEST = 0.80


def _svg(body: Sequence[str], title: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="11"><title>{title}</title><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    )
    return "\n".join([head, f'<text x="{LEFT}" y="16" font-weight="bold">{title}</text>', *body, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#333">{text}</text>'


def _level(y: float, label: str) -> list[str]:
    return [
        f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>',
        _text(LEFT - 6, y + 4, label, "end"),
    ]


def used(rows: Sequence[Row]) -> str:
    """Share used of every case and shape; a case is a column, a shape a colour."""
    bottom = HEIGHT - 50

    def height(share: float) -> float:
        return bottom - (max(LOWEST, min(1.0, share)) - LOWEST) / (1 - LOWEST) * (bottom - TOP)

    body: list[str] = []
    for percent in range(80, 101, 4):
        body += _level(height(percent / 100), f"{percent} %")
    step = (WIDTH - LEFT - 10) / len(rows)
    for column, row in enumerate(rows):
        x = LEFT + step * (column + 0.5)
        for place, shape in enumerate(SHAPES):
            y, colour = height(row.used[shape]), COLOURS[place]
            body.append(f'<circle cx="{x + (place - 2) * 2.5:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>')
    names = list(dict.fromkeys(row.case.name for row in rows))
    for name in names:
        columns = [i for i, row in enumerate(rows) if row.case.name == name]
        body.append(_text(LEFT + step * (sum(columns) / len(columns) + 0.5), bottom + 16, name))
    for place, shape in enumerate(SHAPES):
        x = LEFT + place * 130
        body.append(f'<circle cx="{x}" cy="{HEIGHT - 12}" r="4" fill="{COLOURS[place]}"/>')
        body.append(_text(x + 8, HEIGHT - 8, shape, "start"))
    return _svg(body, "Share of the limit used, all workers and queues (80 % and less at the bottom)")


def seconds(row: Row) -> str:
    """Calls that arrived in each second of a run."""
    bottom = HEIGHT - 30
    per_s = row.limit / 60
    top = max(*row.per_second, per_s) * 1.1
    body: list[str] = []
    for share in (0.0, 0.5, 1.0, 1.5):
        if share * per_s <= top:
            body += _level(bottom - share * per_s / top * (bottom - TOP), f"{share * per_s:.0f}")
    step = (WIDTH - LEFT - 10) / len(row.per_second)
    points = " ".join(
        f"{LEFT + i * step:.1f},{bottom - count / top * (bottom - TOP):.1f}" for i, count in enumerate(row.per_second)
    )
    body.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[0]}"/>')
    for minute in range(row.case.minutes + 1):
        body.append(_text(LEFT + minute * 60 * step, bottom + 16, f"{minute} min"))
    return _svg(body, f"Calls per second at the door, {row.case.name}, {row.case.workers} workers")
