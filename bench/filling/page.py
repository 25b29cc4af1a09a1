"""What was measured, as lines for the terminal and as the page docs/budgets.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.filling import plots
from bench.filling.cases import Row
from bench.filling.door import SHAPES
from bench.filling.fairness import Finding

HEAD = (
    "share used / share refused by shape, worst sliding minute, admissions, µs of Redis per admission, slowest script"
)


def line(row: Row) -> str:
    """A case on one line."""
    case = row.case
    shapes = "  ".join(f"{shape} {_both(row, shape)}" for shape in row.used)
    head = f"{case.name:>11} {case.profile.name} {case.workers}w {case.queues:>2}q"
    return (
        f"{head}  {shapes}  worst {row.worst:,}/{row.limit:,}"
        f"  {row.arrivals:,} adm  {row.script_us:.0f} µs  {row.slowest}"
    )


def finding_line(finding: Finding) -> str:
    """A finding on one line."""
    return f"{_verdict(finding):>5}  {finding.run}: {finding.figure}" + (
        f"   (asked: {finding.promise})" if finding.promise else ""
    )


def write(docs: Path, filled: Sequence[Row], sliced: Sequence[Row], findings: Sequence[Finding]) -> None:
    """Write budgets.md and its plots."""
    (docs / "budgets-used.svg").write_text(plots.used(filled))
    steady = next(row for row in filled if row.case.requests == 6_000 and row.case.workers == row.case.queues == 2)
    (docs / "budgets-seconds.svg").write_text(plots.seconds(steady))
    (docs / "budgets.md").write_text("\n".join([*_intro(), *_filled(filled), *_sliced(sliced), *_findings(findings)]))


def _intro() -> list[str]:
    return [
        "# Budgets, measured",
        "",
        "Written by `python -m bench budgets --write`: the real scripts on the embedded Redis under a virtual clock,"
        " with claimers, timers and wake tokens as the workers have them. Every call arrives 5–60 ms after its"
        " admission, some much later: one claim in 500 is held up 0.1–0.5 s before its calls depart (after 150 ms they"
        " are released unsent), and one call in 5,000 is held up as long on its way. Calls are settled with the age at"
        " which they left. All limiter shapes and an exact log of the last 60 s look at the same arrivals.",
        "",
        "Shares count from the second minute on. `worst` is the most that any sliding 60 s of arrivals held.",
        "",
    ]


def _filled(rows: Sequence[Row]) -> list[str]:
    lines = [
        "## Filling a limit",
        "",
        "Share used / share of calls refused, in %, with the generic profile (pace 0.992, burst 1 s). Nothing is told"
        " to the callers here: what a shape would refuse is lost for it. The last column is by the clock of one run,"
        " with whatever else the machine did; how long scripts take at worst is measured under *hard cases*.",
        "",
        f"| limit | workers | queues | {' | '.join(SHAPES)} | worst | calls | Redis µs per call | slowest script |",
        "|---|---|---|" + "---|" * (len(SHAPES) + 4),
    ]
    for row in rows:
        shapes = " | ".join(_both(row, shape) for shape in SHAPES)
        lines.append(
            f"| {row.case.name} | {row.case.workers} | {row.case.queues} | {shapes} | {row.worst:,} of {row.limit:,}"
            f" | {row.arrivals:,} | {row.script_us:.0f} | {row.slowest} |"
        )
    return [
        *lines,
        "",
        "![Share used](budgets-used.svg)",
        "",
        "![Calls per second](budgets-seconds.svg)",
        "",
    ]


def _sliced(rows: Sequence[Row]) -> list[str]:
    lines = [
        "## A provider that cuts the minute into slices of 10 s, and says so with 429",
        "",
        "| limit | profile | used | refused in the first two minutes | refused later | worst |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ((shape, used),) = row.used.items()
        profile = row.case.profile
        lines.append(
            f"| {row.case.name} | {profile.name} (pace {profile.pace}, burst {profile.burst_ms} ms) | {used:.1%}"
            f" | {row.refused_early[shape]} | {row.refused_late[shape]} of {row.arrivals:,} | {row.worst:,} |"
        )
    return [*lines, ""]


def _findings(findings: Sequence[Finding]) -> list[str]:
    lines = ["## Fairness and hard cases", "", "| run | measured | asked | |", "|---|---|---|---|"]
    lines += [f"| {f.run} | {f.figure} | {f.promise} | {_verdict(f)} |" for f in findings]
    return [*lines, ""]


def _both(row: Row, shape: str) -> str:
    return f"{row.used[shape] * 100:.2f} / {row.refused[shape] * 100:.3g}"


def _verdict(finding: Finding) -> str:
    return "" if finding.met is None else "holds" if finding.met else "fails"
