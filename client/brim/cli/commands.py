"""What each command does, once the command line is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ..client import Client
from ..errors import ConfigurationError, ConnectionFailed, Invalid
from ..records import Batch, Event
from ..submission import CallbackOptions, CreateOptions
from .arguments import Connections, Explain, Get, List, Results, Submit, Watch
from .exit_codes import ExitCode
from .explaining import print_connections, print_explanation
from .output import print_batch, print_batches, print_items, say, write_event, write_items, write_json
from .submission_file import ReadFile, read_submission
from .views import progress_view
from .watching import Interrupted, watch_batch, watch_events
from .wording import summary

_SHOWN_FAULTS = 20


def submit(client: Client, command: Submit) -> ExitCode:
    """Send the file; then leave, or follow the batch to its end."""
    read = _read_file(command)
    with _faults_by_line(read):
        if command.type == "SYNC":
            return _run_sync(client, command, read)
        batch = client.create(read.items, type=command.type, **_options(command))
    if not command.wait:
        if command.json:
            write_json(batch.raw)
        else:
            if batch.warning is not None:
                say(batch.warning)
            print(f"batch {batch.batch_id}: {batch.total_items:,} items, {batch.status}")
            print(f"watch it with: brim watch {batch.batch_id}")
        return ExitCode.OK
    if command.json:
        final = _print_events(client.stream(batch.batch_id), batch.batch_id)
    else:
        final = watch_batch(client, batch.batch_id, progress_view(), command.resource)
    return _finish(client, command, final)


def watch(client: Client, command: Watch) -> ExitCode:
    """Follow a batch to its end."""
    if command.json:
        events = client.stream(command.batch_id, command.last_event_id)
        return _code_of(_print_events(events, command.batch_id, command.last_event_id))
    batch = watch_batch(client, command.batch_id, progress_view())
    _print_end(batch)
    return _code_of(batch)


def get(client: Client, command: Get) -> ExitCode:
    """Show a batch, with its items if asked."""
    if command.json:
        write_json(client.get(command.batch_id, include_items=command.items).raw)
        return ExitCode.OK
    print_batch(client.get(command.batch_id))
    if command.items:
        print()
        print_items(client.items(command.batch_id))
    return ExitCode.OK


def list_batches(client: Client, command: List) -> ExitCode:
    """Show the newest batches."""
    batches = islice(client.list(command.status, page_size=min(command.limit, 100)), command.limit)
    if command.json:
        for batch in batches:
            write_json(batch.raw)
    else:
        print_batches(batches)
    return ExitCode.OK


def explain(client: Client, command: Explain) -> ExitCode:
    """Say why a batch or an item waits."""
    found = client.explain(command.batch_id, command.item_id)
    if command.json:
        write_json(found.raw)
    else:
        print_explanation(found)
    return ExitCode.OK


def connections(client: Client, command: Connections) -> ExitCode:
    """Show the connections; or let one that is parked be tried at once."""
    if command.resume is not None:
        resumed = client.resume_connection(command.resume)
        if command.json:
            write_json(resumed.raw)
        else:
            print(f"connection {resumed.name} is tried again")
        return ExitCode.OK
    found = client.connections()
    if command.json:
        for each in found:
            write_json(each.raw)
    else:
        print_connections(found)
    return ExitCode.OK


def results(client: Client, command: Results) -> ExitCode:
    """Write the items that have ended; say on stderr when there are more to come."""
    batch = client.get(command.batch_id)
    count = write_items(client.results(command.batch_id, status=command.status), command.output)
    if command.output is not None:
        say(f"{count:,} item{'' if count == 1 else 's'} written to {command.output}")
    if not batch.is_final:
        say(f"the batch is {batch.status}: {batch.finished:,} of {batch.total_items:,} items had ended")
    return ExitCode.OK


def _run_sync(client: Client, command: Submit, read: ReadFile) -> ExitCode:
    events = client.run(read.items, **_options(command))
    if command.json:
        final = _print_events(events, None)
    else:
        final = watch_events(client, events, progress_view(), command.resource)
    return _finish(client, command, final)


def _finish(client: Client, command: Submit, batch: Batch) -> ExitCode:
    if command.output is not None:
        write_items(client.results(batch.batch_id), command.output)
    if not command.json:
        _print_end(batch, command.output)
    return _code_of(batch)


def _print_end(batch: Batch, output: str | None = None) -> None:
    print(summary(batch))
    if output is not None:
        print(f"results: {output}")
    elif batch.completed:
        print(f"results: brim results {batch.batch_id} -o FILE")
    if batch.failed:
        print(f"what failed: brim results {batch.batch_id} --status FAILED")


def _print_events(events: Iterator[Event], batch_id: str | None, last_event_id: int | None = None) -> Batch:
    """Each event as a JSON line; the batch at its last event. Raises Interrupted on Ctrl-C."""
    batch: Batch | None = None
    try:
        for event in events:
            batch = event.batch or batch
            batch_id = batch_id or (None if batch is None else batch.batch_id)
            write_event(event)
            last_event_id = event.id or last_event_id
    except KeyboardInterrupt:
        raise Interrupted(batch_id, last_event_id) from None
    if batch is None:
        raise ConnectionFailed("the stream ended without telling of the batch's end")
    return batch


def _code_of(batch: Batch) -> ExitCode:
    return ExitCode.OK if batch.status == "COMPLETED" else ExitCode.BATCH_FAILED


def _read_file(command: Submit) -> ReadFile:
    name = "stdin" if command.file == "-" else command.file
    try:
        if command.file == "-":
            return read_submission(sys.stdin.buffer, name, resource=command.resource, endpoint=command.endpoint)
        with open(command.file, "rb") as file:
            return read_submission(file, name, resource=command.resource, endpoint=command.endpoint)
    except OSError as error:
        raise ConfigurationError(f"cannot read {name}: {error.strerror or error}") from None


@contextmanager
def _faults_by_line(read: ReadFile) -> Iterator[None]:
    """Where the server names an item by its index, name the line it came from too."""
    try:
        yield
    except Invalid as error:
        lines = [
            f"  line {read.line_numbers[fault['index']]}: {_fault_text(fault)}"
            for fault in _item_faults(error)
            if 0 <= fault["index"] < len(read.line_numbers)
        ]
        message = "\n".join([error.message, *lines[:_SHOWN_FAULTS]])
        raise Invalid(error.status, error.code, message, error.details) from None


def _item_faults(error: Invalid) -> list[dict[str, Any]]:
    lists = [value for value in error.details.values() if isinstance(value, list)]
    return [f for found in lists for f in found if isinstance(f, dict) and isinstance(f.get("index"), int)]


def _fault_text(fault: dict[str, Any]) -> str:
    said = [str(fault[name]) for name in ("field", "message", "errorMessage", "error") if fault.get(name)]
    return ": ".join(said) or "refused"


def _options(command: Submit) -> CreateOptions:
    options = CreateOptions(
        capacity=command.capacity,
        max_in_flight=command.max_in_flight,
        priority=command.priority,
        deadline=command.deadline,
        idempotency_key=command.idempotency_key,
    )
    if command.callback_url is not None:
        options["callback_options"] = CallbackOptions(
            command.callback_url, events=command.callback_events, secret=command.callback_secret
        )
    return options
