"""The commands about files of requests: `brim validate` and `brim batch`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..jsonl import DEFAULT_MAX_BYTES, DEFAULT_MAX_LINES

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


@dataclass(frozen=True, slots=True)
class Validate:
    """`brim validate`. `file` "-" is standard input."""

    file: str
    max_bytes: int
    max_lines: int
    require_method: bool
    require_url: bool
    json: bool


@dataclass(frozen=True, slots=True)
class RunFile:
    """`brim batch run`. endpoint None: that of the first line. output None: beside the input."""

    file: str
    output: str | None
    endpoint: str | None
    completion_window: str
    metadata: tuple[tuple[str, str], ...]
    fresh: bool


@dataclass(frozen=True, slots=True)
class CancelFile:
    """`brim batch cancel`."""

    batch_id: str


def add_validate(commands: _Commands) -> None:
    """`brim validate FILE`: needs no server."""
    validate = commands.add_parser("validate", help="check a file of batch lines; needs no server")
    validate.add_argument("file", metavar="FILE", help="JSONL in OpenAI's batch format; - is stdin")
    validate.add_argument("--max-bytes", type=int, default=DEFAULT_MAX_BYTES, metavar="N")
    validate.add_argument("--max-lines", type=int, default=DEFAULT_MAX_LINES, metavar="N")
    validate.add_argument("--require-method", action="store_true", help="each line needs a method")
    validate.add_argument("--require-url", action="store_true", help="each line needs a url")
    validate.add_argument("--json", action="store_true", help="the counts as JSON on stdout, for machines")


def add_batch(commands: _Commands) -> None:
    """`brim batch run FILE` and `brim batch cancel BATCH`."""
    batch = commands.add_parser("batch", help="run a file of OpenAI batch lines; only URL and key are needed")
    verbs = batch.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser("run", help="upload, run, watch, download; run it again to go on after Ctrl-C")
    run.add_argument("file", metavar="FILE", help="JSONL in OpenAI's batch format")
    run.add_argument("-o", "--output", metavar="OUT", help="default: FILE with .output.jsonl")
    run.add_argument("--endpoint", metavar="URL", help="default: the url of the first line")
    run.add_argument("--window", default="24h", metavar="TIME", help="time until it expires: 24h, 3d, …")
    run.add_argument("--metadata", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    run.add_argument("--fresh", action="store_true", help="forget an earlier run of this file and start anew")
    run.add_argument("--url", help="instead of BRIM_URL")
    cancel = verbs.add_parser("cancel", help="stop a batch; what is finished is kept")
    cancel.add_argument("batch", metavar="BATCH")
    cancel.add_argument("--url", help="instead of BRIM_URL")


def read_validate(found: argparse.Namespace) -> Validate:
    """The command from what was parsed."""
    return Validate(found.file, found.max_bytes, found.max_lines, found.require_method, found.require_url, found.json)


def read_batch(found: argparse.Namespace) -> RunFile | CancelFile:
    """The command from what was parsed."""
    if found.verb == "cancel":
        return CancelFile(found.batch)
    return RunFile(found.file, found.output, found.endpoint, found.window, tuple(found.metadata), found.fresh)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
