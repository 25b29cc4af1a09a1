"""Summarise a novel, passage by passage, through a provider that allows 300 requests a minute.

`make demo` runs this beside Brim and a simulated provider. With BRIM_URL, BRIM_API_KEY, BRIM_WORKSPACE and
BRIM_ENVIRONMENT set it runs against any Brim; the closing report then leaves out what only the simulator knows.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from brim import Client, Item, NewItem

BOOK = Path(__file__).parent / "pride-and-prejudice.txt"
RESOURCE = os.environ.get("BRIM_RESOURCE", "sim-model")
PASSAGES = 400
WORDS = 75
LEAST_SHARE_USED = 0.95

console = Console(highlight=False)


def passages(text: str) -> list[str]:
    """The book as passages of about WORDS words, whole sentences kept together where a line allows it."""
    words = text.split()
    return [" ".join(words[start : start + WORDS]) for start in range(0, len(words), WORDS)][:PASSAGES]


def item(number: int, passage: str) -> NewItem:
    """One item of the batch: an ordinary chat completion body; Brim fills in the model."""
    messages = [
        {"role": "system", "content": "Summarise the passage in one sentence."},
        {"role": "user", "content": passage},
    ]
    return NewItem(RESOURCE, {"messages": messages, "max_tokens": 40}, custom_id=f"passage-{number}")


def run(client: Client) -> tuple[Counter[str], float, str]:
    """Send everything as one SYNC batch and follow its events live.

    Answers how often each item ended, the seconds it took, and the last event's action.
    """
    items = [item(number, passage) for number, passage in enumerate(passages(BOOK.read_text("utf-8")), start=1)]
    ended: Counter[str] = Counter()
    last = ""
    started = time.monotonic()
    columns = (
        TextColumn("[bold]summarising"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        bar = progress.add_task("items", total=len(items), rate="")
        for event in client.run(items):
            last = event.action
            if isinstance(event.payload, Item) and event.action != "item-running":
                ended[event.payload.custom_id or ""] += 1
                done = sum(ended.values())
                elapsed = time.monotonic() - started
                progress.update(bar, completed=done, rate=f"{done / elapsed * 60:5.0f}/min")
                if not console.is_terminal and done % 50 == 0:
                    console.print(f"  {done} of {len(items)} after {elapsed:.0f} s")
    return ended, time.monotonic() - started, last


def provider_stats() -> dict[str, Any] | None:
    """What the simulated provider saw; None when this is not the demonstration."""
    url = os.environ.get("BRIM_SIMULATOR_URL")
    if not url:
        return None
    with urllib.request.urlopen(f"{url}/stats", timeout=10) as answer:
        return dict(json.load(answer))


def report(ended: Counter[str], seconds: float, last: str, stats: dict[str, Any] | None) -> bool:
    """Print the closing table; True when every promise held."""
    expected = len(passages(BOOK.read_text("utf-8")))
    once = len(ended) == expected and set(ended.values()) == {1}
    held = [once, last == "batch-completed"]
    table = Table(title="What the provider saw", title_justify="left", show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()

    def row(name: str, value: str, good: bool | None, note: str = "") -> None:
        mark = "" if good is None else "[green]✓[/]" if good else "[red]✗[/]"
        table.add_row(name, value, f"{mark} {note}".strip())

    row("items, each recorded once", f"{len(ended)} of {expected}", once)
    row("seconds", f"{seconds:.1f}", None)
    if stats is not None:
        limit = stats["limits"]["rpm"]
        span_s = stats["last_call_at"] - stats["first_call_at"]
        share = stats["admitted"] / (limit * span_s / 60)
        worst = stats["worst_minute"]["requests"]
        refused = stats["refused_429"]
        checks = [share >= LEAST_SHARE_USED, worst <= limit, refused == 0]
        held += checks
        row("share of the budget used", f"{share:.1%}", checks[0], f"of {limit} requests a minute")
        row("worst sliding minute", f"{worst} requests", checks[1], f"limit {limit}")
        row("429s", str(refused), checks[2])
        row("tokens charged", f"{stats['tokens_charged']:,}", None)
    console.print()
    console.print(table)
    return all(held)


def main() -> int:
    """Run the example; 0 only when every promise held."""
    console.print(
        f"\n[bold]Brim[/]: {PASSAGES} passages of “Pride and Prejudice” become {PASSAGES} chat completions, sent as "
        "one batch through a provider that allows 300 requests a minute and refuses what is above. It takes a little "
        "over a minute: that is the limit, not the scheduler.\n"
    )
    with Client() as client:
        ended, seconds, last = run(client)
    return 0 if report(ended, seconds, last, provider_stats()) else 1


if __name__ == "__main__":
    sys.exit(main())
