"""How progress is shown: a live bar on a terminal, plain lines elsewhere, nothing for machines."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .output import say
from .tally import Tally
from .wording import percent, plain_line, rate, seconds, state

_PLAIN_EVERY_S = 5.0
_STYLES = {
    "PENDING": "yellow",
    "RUNNING": "cyan",
    "PAUSED": "yellow",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
}


class View(Protocol):
    """Shows one batch's progress while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, tally: Tally, headroom: str | None) -> None:
        """Show the counts, and the headroom if it is known."""

    def trouble(self, text: str | None) -> None:
        """Say that the counts are stale and why; None: no longer."""


def progress_view() -> View:
    """The view for this standard output."""
    console = Console(highlight=False)
    return LiveView(console) if console.is_terminal else PlainView()


class PlainView:
    """A line at the start, every few seconds while something changes, and at the end."""

    def __init__(self) -> None:
        self._shown_at_s = float("-inf")
        self._shown: tuple[str, int, str | None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, tally: Tally, headroom: str | None) -> None:
        """Print a line if it is time for one."""
        now = (state(tally), tally.finished, tally.waits)
        due = tally.elapsed_s - self._shown_at_s >= _PLAIN_EVERY_S or tally.is_final
        if now == self._shown or not due:
            return
        self._shown, self._shown_at_s = now, tally.elapsed_s
        print(plain_line(tally, headroom), flush=True)

    def trouble(self, text: str | None) -> None:
        """Print it on stderr."""
        if text is not None:
            say(text)


class LiveView:
    """A bar with the figures under it, drawn over itself; what it showed last stays."""

    def __init__(self, console: Console) -> None:
        self._tally: Tally | None = None
        self._headroom: str | None = None
        self._trouble: str | None = None
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._draw)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, tally: Tally, headroom: str | None) -> None:
        """Take the counts; the next refresh draws them."""
        self._tally, self._headroom = tally, headroom

    def trouble(self, text: str | None) -> None:
        """Draw it under the figures."""
        self._trouble = text

    def _draw(self) -> RenderableType:
        tally = self._tally
        if tally is None:
            return Text("connecting …", style="dim")
        status = state(tally)
        style = _STYLES.get(status, "white")
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(total=max(tally.total, 1), completed=tally.finished, complete_style=style)
        done = f"{tally.finished:,}/{tally.total:,}  {percent(tally)}"
        head.add_row(Text(f"{status:<9}", style=f"bold {style}"), bar, done)
        lines: list[RenderableType] = [
            Text(f"batch {tally.batch_id}", style="dim"),
            head,
            self._figures(tally),
        ]
        if tally.waits is not None:
            lines.append(Text(tally.waits, style="yellow"))
        if self._trouble is not None:
            lines.append(Text(self._trouble, style="yellow"))
        # A full last line would wrap under the terminal's own echo of Ctrl-C and spoil what stays.
        return Constrain(Group(*lines), max(1, self._live.console.width - 3))

    def _figures(self, tally: Tally) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(rate(tally.per_s), style="bold")
        text.append(f"  running {tally.running:,}")
        text.append(f"  failed {tally.failed:,}", style="bold red" if tally.failed else "")
        if tally.cancelled:
            text.append(f"  cancelled {tally.cancelled:,}")
        if self._headroom is not None and not tally.is_final:
            text.append(f"  headroom {self._headroom}")
        text.append(f"  {seconds(tally.elapsed_s)}", style="dim")
        if tally.left_s is not None:
            text.append(f"  {seconds(tally.left_s)} left", style="bold")
        return text
