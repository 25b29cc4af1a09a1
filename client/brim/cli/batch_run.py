"""`brim batch run`: upload, create, watch, download; every step is remembered, so that a second run goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, ConnectionFailed, InvalidJsonl, NotFound, Unavailable
from ..file_batches import FileBatches
from ..file_records import FileBatch
from ..jsonl import parse_json_line, validate_jsonl
from ..retrying import RetryPolicy
from .exit_codes import ExitCode
from .file_arguments import CancelFile, RunFile
from .output import destination, say
from .run_state import Asked, RunState, StateFile, sha256_of
from .tally import Tallier, Tally
from .views import progress_view
from .watching import Interrupted
from .wording import seconds

RUN_KEY = "brim_run"
"""In the metadata of each batch that this command makes."""
ASK_EVERY_S = 0.5
PATIENT = RetryPolicy(attempts=8)
"""About 20 s: a server that is started anew need not end a long run."""
_PATIENCE_S = 120.0
_SHOWN_FAULTS = 20
_STATUSES: Mapping[str, str] = {
    "validating": "PENDING",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "cancelling": "RUNNING",
    "completed": "COMPLETED",
    "failed": "FAILED",
    "expired": "CANCELLED",
    "cancelled": "CANCELLED",
}


def run_file(client: FileBatches, command: RunFile) -> ExitCode:
    """Bring a file to its end, from wherever an earlier run of the same left off. Raises Interrupted on Ctrl-C."""
    source = Path(command.file)
    output = Path(command.output) if command.output is not None else source.with_suffix(".output.jsonl")
    state_file = StateFile(output)
    endpoint = command.endpoint or _first_url(source)
    _check(source)
    asked = Asked(client.base_url, sha256_of(source), endpoint, command.completion_window)
    state = state_file.load(asked, fresh=command.fresh)
    started_s = time.monotonic()
    try:
        state, batch = _started(client, command, source, state_file, state)
        batch = _watched(client, batch)
        _download(client, batch, output)
    except KeyboardInterrupt:
        raise Interrupted(state_file.load(asked, fresh=False).batch_id) from None
    state_file.remove()
    _tell(batch, output, time.monotonic() - started_s)
    return ExitCode.OK if batch.status == "completed" and not batch.failed else ExitCode.BATCH_FAILED


def cancel_file(client: FileBatches, command: CancelFile) -> ExitCode:
    """Stop a batch."""
    batch = client.cancel(command.batch_id)
    print(f"batch {batch.id}: {batch.status}")
    return ExitCode.OK


def errors_beside(output: Path) -> Path:
    """Where the requests without an answer go: out.jsonl → out.errors.jsonl."""
    return output.with_name(f"{output.stem}.errors{output.suffix}")


def _started(
    client: FileBatches, command: RunFile, source: Path, state_file: StateFile, state: RunState
) -> tuple[RunState, FileBatch]:
    if state.batch_id is None and state.file_id is not None:
        state = _found_again(client, state_file, state)
    if state.batch_id is not None:
        say(f"going on with batch {state.batch_id}")
        return state, client.get(state.batch_id)
    if state.file_id is None or not _still_there(client, state.file_id):
        say(f"uploading {source} ({source.stat().st_size:,} bytes)")
        state = state_file.save(state, file_id=client.upload(source).id)
    batch = client.create(
        state.file_id or "",
        state.asked.endpoint,
        completion_window=state.asked.completion_window,
        metadata={**dict(command.metadata), RUN_KEY: state.run_id},
    )
    say(f"batch {batch.id}")
    return state_file.save(state, batch_id=batch.id), batch


def _found_again(client: FileBatches, state_file: StateFile, state: RunState) -> RunState:
    """We may have ended between the creation of the batch and writing its id down."""
    for batch in client.batches():
        if batch.metadata.get(RUN_KEY) == state.run_id:
            return state_file.save(state, batch_id=batch.id)
    return state


def _still_there(client: FileBatches, file_id: str) -> bool:
    try:
        client.file(file_id)
    except NotFound:
        return False
    return True


def _watched(client: FileBatches, batch: FileBatch) -> FileBatch:
    """Show the batch until it is final. The server may be away for up to two minutes meanwhile."""
    view = progress_view()
    tallier = Tallier(time.monotonic())
    heard_at_s = time.monotonic()
    with view:
        while True:
            view.show(tallier.see(_tally(batch), time.monotonic()), None)
            if batch.is_final:
                return batch
            time.sleep(ASK_EVERY_S)
            try:
                batch = client.get(batch.id)
            except (ConnectionFailed, Unavailable) as error:
                if time.monotonic() - heard_at_s > _PATIENCE_S:
                    raise
                view.trouble(f"no news, trying again: {error}")
            else:
                view.trouble(None)
                heard_at_s = time.monotonic()


def _tally(batch: FileBatch) -> Tally:
    return Tally(
        batch_id=batch.id,
        type="FILE",
        status=_STATUSES.get(batch.status, "RUNNING"),
        paused=False,
        total=batch.total,
        running=0,
        completed=batch.completed,
        failed=batch.failed,
        cancelled=0,
        prompt_tokens=batch.input_tokens,
        output_tokens=batch.output_tokens,
    )


def _download(client: FileBatches, batch: FileBatch, output: Path) -> None:
    for file_id, path in ((batch.output_file_id, output), (batch.error_file_id, errors_beside(output))):
        if file_id is not None:
            with destination(str(path)) as file:
                for piece in client.content(file_id):
                    (file or sys.stdout.buffer).write(piece)


def _tell(batch: FileBatch, output: Path, took_s: float) -> None:
    parts = [f"{batch.completed:,} of {batch.total:,} completed", f"{batch.failed:,} failed"]
    if batch.input_tokens or batch.output_tokens:
        parts.append(f"{batch.input_tokens:,} + {batch.output_tokens:,} tokens")
    print(f"{batch.status}: {', '.join(parts)}, in {seconds(took_s)}")
    for fault in batch.faults[:_SHOWN_FAULTS]:
        where = "" if fault.line is None else f"line {fault.line}: "
        print(f"  {where}{fault.code}: {fault.message}")
    if len(batch.faults) > _SHOWN_FAULTS:
        print(f"  and {len(batch.faults) - _SHOWN_FAULTS} more")
    if batch.output_file_id is not None:
        print(f"results: {output}")
    if batch.error_file_id is not None:
        print(f"what failed: {errors_beside(output)}")


def _check(source: Path) -> None:
    """Refuse what the server would refuse, before it is sent; its own limits of size are its own."""
    with _readable(source):
        validate_jsonl(source, max_bytes=sys.maxsize, max_lines=sys.maxsize, require_url=True)


def _first_url(source: Path) -> str:
    with _readable(source), source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                entry: Any = parse_json_line(line, InvalidJsonl)
                url = entry.get("url") if isinstance(entry, dict) else None
                if not isinstance(url, str) or not url:
                    raise InvalidJsonl(f"Line {number}: missing or non-string 'url'; or name it with --endpoint")
                return url
    raise InvalidJsonl("File is empty")


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"cannot read {source}: {error.strerror or error}") from None
