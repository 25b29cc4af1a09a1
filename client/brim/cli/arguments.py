"""The command line, read into one value per command."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from ..submission import CapacityInput, Priority
from .capacity_text import parse_capacity
from .file_arguments import CancelFile, RunFile, Validate, add_batch, add_validate, read_batch, read_validate
from .mending_arguments import Mending, add_mending, read_mending
from .steering_arguments import Steering, add_steering, read_steering
from .submission_file import ENDPOINTS

BatchType = Literal["SYNC", "ASYNC", "CALLBACK"]

_STATUSES = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")
_EPILOG = """\
The server's address and key come from BRIM_URL, BRIM_API_KEY, BRIM_WORKSPACE and BRIM_ENVIRONMENT.
exit codes: 0 done, 1 the batch failed or was cancelled, 2 usage or bad input, 3 the server refused,
4 the server cannot be reached, 130 interrupted (the batch runs on), 141 the reader of our output left"""


@dataclass(frozen=True, slots=True)
class Where:
    """What the command line says about the server; the rest comes from the environment."""

    url: str | None
    workspace: str | None
    environment: str | None


@dataclass(frozen=True, slots=True)
class Submit:
    """`brim submit`. `file` "-" is standard input."""

    file: str
    resource: str
    type: BatchType
    endpoint: str
    priority: Priority | None
    capacity: Sequence[CapacityInput] | None
    max_in_flight: int | None
    deadline: str | None
    idempotency_key: str | None
    callback_url: str | None
    callback_events: Sequence[Literal["item_update", "batch_update", "all"]]
    callback_secret: str | None
    wait: bool
    output: str | None
    json: bool


@dataclass(frozen=True, slots=True)
class Watch:
    """`brim watch`."""

    batch_id: str
    last_event_id: int | None
    json: bool


@dataclass(frozen=True, slots=True)
class Get:
    """`brim get`."""

    batch_id: str
    items: bool
    json: bool


@dataclass(frozen=True, slots=True)
class List:
    """`brim list`."""

    status: str | None
    limit: int
    json: bool


@dataclass(frozen=True, slots=True)
class Explain:
    """`brim explain`."""

    batch_id: str
    item_id: str | None
    json: bool


@dataclass(frozen=True, slots=True)
class Connections:
    """`brim connections`. resume: id or name of the one to try again."""

    resume: str | None
    json: bool


@dataclass(frozen=True, slots=True)
class Results:
    """`brim results`."""

    batch_id: str
    output: str | None
    status: str | None


ItemCommand = Submit | Watch | Get | List | Explain | Connections | Steering | Results | Mending
Command = ItemCommand | Validate | RunFile | CancelFile


def parse(argv: Sequence[str] | None) -> tuple[Command, Where]:
    """Read the command line. Ends the process with code 2 and a usage message when it is wrong."""
    parser = _parser()
    found = parser.parse_args(argv)
    if found.command == "validate":
        return read_validate(found), Where(None, None, None)
    if found.command == "batch":
        return read_batch(found), Where(found.url, None, None)
    return _item_command(parser, found), Where(found.url, found.workspace, found.environment)


def _item_command(parser: argparse.ArgumentParser, found: argparse.Namespace) -> ItemCommand:
    match found.command:
        case "submit":
            return _submit(parser, found)
        case "watch":
            if found.last_event_id is not None and not found.json:
                parser.error("--last-event-id needs --json: the progress view asks for the counts instead")
            return Watch(found.batch, found.last_event_id, found.json)
        case "get":
            return Get(found.batch, found.items, found.json)
        case "list":
            return List(found.status, found.limit, found.json)
        case "explain":
            return Explain(found.batch, found.item, found.json)
        case "connections":
            return Connections(found.resume, found.json)
        case "pause" | "resume" | "cancel" | "change":
            return read_steering(parser, found)
        case "results":
            return Results(found.batch, found.output, found.status)
        case _:
            return read_mending(parser, found)


def _submit(parser: argparse.ArgumentParser, found: argparse.Namespace) -> Submit:
    kind: BatchType = found.type or ("CALLBACK" if found.callback_url else "ASYNC")
    if (kind == "CALLBACK") != (found.callback_url is not None):
        parser.error("--type CALLBACK and --callback-url need each other")
    if found.output is not None and not (found.wait or kind == "SYNC"):
        parser.error("-o needs --wait or --type SYNC; later, `brim results BATCH -o FILE` does the same")
    secret = None
    if found.callback_secret_env is not None:
        secret = os.environ.get(found.callback_secret_env)
        if not secret:
            parser.error(f"--callback-secret-env: the variable {found.callback_secret_env} is not set")
    return Submit(
        file=found.file,
        resource=found.resource,
        type=kind,
        endpoint=found.endpoint,
        priority=found.priority,
        capacity=found.capacity,
        max_in_flight=found.max_in_flight,
        deadline=found.deadline,
        idempotency_key=found.idempotency_key,
        callback_url=found.callback_url,
        callback_events=found.callback_event or ("all",),
        callback_secret=secret,
        wait=found.wait,
        output=found.output,
        json=found.json,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="brim",
        description="Run batches of LLM requests through Brim.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"brim {_version()}")
    server = argparse.ArgumentParser(add_help=False)
    group = server.add_argument_group("server")
    group.add_argument("--url", help="instead of BRIM_URL")
    group.add_argument("--workspace", metavar="ID", help="instead of BRIM_WORKSPACE")
    group.add_argument("--environment", metavar="ID", help="instead of BRIM_ENVIRONMENT")
    json = argparse.ArgumentParser(add_help=False, parents=[server])
    json.add_argument("--json", action="store_true", help="one JSON value a line on stdout, for machines")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _add_submit(commands.add_parser("submit", parents=[json], help="hand in a file of requests"))

    watch = commands.add_parser("watch", parents=[json], help="show a batch's progress until it ends")
    watch.add_argument("batch", metavar="BATCH")
    watch.add_argument("--last-event-id", type=_whole, metavar="N", help="with --json: start after this event")

    get = commands.add_parser("get", parents=[json], help="show a batch")
    get.add_argument("batch", metavar="BATCH")
    get.add_argument("--items", action="store_true", help="with its items")

    listing = commands.add_parser("list", parents=[json], help="show the newest batches")
    listing.add_argument("--status", type=str.upper, choices=_STATUSES)
    listing.add_argument("--limit", type=_positive, default=20, help="at most so many (default 20)")

    explain = commands.add_parser("explain", parents=[json], help="say why a batch or an item waits")
    explain.add_argument("batch", metavar="BATCH")
    explain.add_argument("item", metavar="ITEM", nargs="?", help="one item of it")

    connections = commands.add_parser("connections", parents=[json], help="show connections, and those that are parked")
    connections.add_argument("--resume", metavar="NAME", help="let a parked one be tried at once, by name or id")

    add_batch(commands)
    add_validate(commands)

    add_steering(commands, json, _capacity)

    results = commands.add_parser("results", parents=[json], help="fetch the items that have ended, as JSONL")
    results.add_argument("batch", metavar="BATCH")
    results.add_argument("-o", "--output", metavar="FILE", help="write to FILE instead of stdout")
    results.add_argument("--status", type=str.upper, choices=_STATUSES[2:], help="only items with this end")

    add_mending(commands, json, _positive)
    return parser


def _add_submit(submit: argparse.ArgumentParser) -> None:
    submit.add_argument("file", metavar="FILE", help="JSONL: bare request bodies or OpenAI batch lines; - is stdin")
    submit.add_argument("--resource", required=True, metavar="R", help="the resource's name or UUID")
    submit.add_argument("--type", type=str.upper, choices=("ASYNC", "SYNC", "CALLBACK"), help="default ASYNC")
    submit.add_argument("--endpoint", choices=ENDPOINTS, default=ENDPOINTS[0], help="of the bare bodies")
    submit.add_argument("--priority", choices=("trivial", "low", "normal", "high", "critical"))
    submit.add_argument(
        "--capacity", type=_capacity, metavar="LIMITS", help="this batch's own limits: 600rpm/60ktpm or JSON"
    )
    submit.add_argument("--max-in-flight", type=_positive, metavar="N")
    submit.add_argument("--deadline", metavar="TIME", help="ISO 8601, with a time zone")
    submit.add_argument("--idempotency-key", metavar="KEY", help="the same key never makes a second batch")
    submit.add_argument("--callback-url", metavar="URL")
    submit.add_argument(
        "--callback-event", action="append", choices=("item_update", "batch_update", "all"), help="repeatable"
    )
    submit.add_argument("--callback-secret-env", metavar="NAME", help="the variable that holds the secret")
    submit.add_argument("--wait", action="store_true", help="show the progress until the batch ends")
    submit.add_argument("-o", "--output", metavar="FILE", help="then write the results to FILE")


def _capacity(text: str) -> Sequence[CapacityInput]:
    try:
        return parse_capacity(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _positive(text: str) -> int:
    number = _whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _version() -> str:
    try:
        return version("brim")
    except PackageNotFoundError:
        return "(not installed)"
