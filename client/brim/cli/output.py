"""What goes to stdout and files: JSON lines for machines, tables for people."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console
from rich.table import Table

from ..records import Batch, Event, Item
from ..submission import encode
from .wording import limits_text, summary


def say(text: str) -> None:
    """A remark or an error, on stderr: stdout is for what was asked."""
    print(f"brim: {text}", file=sys.stderr, flush=True)


def write_json(value: Mapping[str, Any], file: BinaryIO | None = None) -> None:
    """One JSON value and a line feed, always in UTF-8; stdout is flushed at once."""
    line = encode(value) + b"\n"
    if file is not None:
        file.write(line)
        return
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def write_event(event: Event) -> None:
    """An event as one JSON line: id (null for live ones), action, payload."""
    write_json({"id": event.id, "action": event.raw["action"], "payload": event.raw["payload"]})


def write_items(items: Iterable[Item], output: str | None) -> int:
    """Write items as JSON lines to stdout or a file; their number.

    The file appears, complete, when the last line is in it: until then it is a temporary one beside it, which
    goes away if anything fails. Raises OSError when it cannot be written.
    """
    count = 0
    with destination(output) as file:
        for item in items:
            write_json(item.raw, file)
            count += 1
    return count


@contextmanager
def destination(output: str | None) -> Iterator[BinaryIO | None]:
    """Where to write what a person wants in `output`: a file that appears when it is whole; None: standard output.
    Raises OSError."""
    if output is None:
        yield None
        return
    target = Path(output)
    if target.exists() and not target.is_file():
        # A pipe or a device cannot be replaced, only written to.
        with target.open("wb") as file:
            yield file
        return
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def print_batch(batch: Batch) -> None:
    """A batch for a person."""
    grid = Table.grid(padding=(0, 2))
    rows = {
        "batch": batch.batch_id,
        "type": batch.type,
        "priority": batch.priority,
        "limits": limits_text(batch),
        "paused": "yes" if batch.paused and not batch.is_final else None,
        "state": summary(batch),
        "waiting": f"{batch.pending:,}" if batch.pending else None,
        "running": f"{batch.running:,}" if batch.running else None,
        "error": batch.error_message,
        "created": moment(batch.created_at),
        "deadline": moment(batch.deadline),
        "expected end": None if batch.is_final else moment(batch.estimated_completion_at),
        "ended": moment(batch.completed_at),
    }
    for name, value in rows.items():
        if value:
            grid.add_row(f"[dim]{name}[/dim]", plain(value))
    console().print(grid)


def print_batches(batches: Iterable[Batch]) -> None:
    """A table of batches, the newest first."""
    rows = table("batch", "status", "done", "failed", "created (UTC)")
    for batch in batches:
        done = f"{batch.finished:,}/{batch.total_items:,}"
        created = "" if batch.created_at is None else f"{batch.created_at:%m-%d %H:%M}"
        rows.add_row(batch.batch_id, batch.status, done, f"{batch.failed:,}", created)
    console().print(rows if rows.row_count else "no batches")


def print_items(items: Iterable[Item]) -> None:
    """A table of items."""
    rows = table("item", "custom id", "status", "tokens", "retries", "error")
    for item in items:
        tokens = "" if item.total_tokens is None else f"{item.total_tokens:,}"
        error = ": ".join(part for part in (item.error_code, item.error_message) if part)
        rows.add_row(
            item.item_id,
            plain(item.custom_id or ""),
            item.status,
            tokens,
            str(item.retry_count),
            plain(error),
        )
    console().print(rows)


def print_table(columns: Sequence[str], texts: Iterable[Sequence[str]], empty: str) -> None:
    """A table of texts from the server; `empty` when there is no row."""
    rows = table(*columns)
    for row in texts:
        rows.add_row(*map(plain, row))
    console().print(rows if rows.row_count else empty)


def table(*columns: str) -> Table:
    """An empty table with these columns."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("batch", "item", "delivery", "status"))
    return table


def console() -> Console:
    """Where tables go."""
    found = Console(highlight=False)
    # Cut to a guessed 80 columns, ids in a file or a pipe would be of no use.
    return found if found.is_terminal else Console(highlight=False, width=10_000)


def plain(text: str) -> str:
    """Text from elsewhere, so that its brackets are no markup and its control characters do nothing."""
    return "".join(c if c.isprintable() else "·" for c in text).replace("[", r"\[")


def moment(at: Any) -> str:
    """A time for people; empty for none."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"
