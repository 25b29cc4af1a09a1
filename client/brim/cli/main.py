"""The entry point of `brim`: run one command, turn whatever ends it into a line on stderr and a code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import assert_never

from ..client import Client
from ..errors import BrimError, MissingSettings
from ..file_batches import FileBatches
from .arguments import (
    Command,
    Connections,
    Explain,
    Get,
    ItemCommand,
    List,
    Results,
    Submit,
    Watch,
    Where,
    parse,
)
from .batch_run import PATIENT, cancel_file, run_file
from .commands import connections, explain, get, list_batches, results, submit, watch
from .exit_codes import ExitCode, exit_code_of
from .file_arguments import CancelFile, RunFile, Validate
from .mending import mend
from .mending_arguments import DeadList, DeadReplay, DeliveriesList, DeliveriesReplay, Retry
from .output import say
from .steering import steer
from .steering_arguments import Change, Control
from .validating import validate
from .watching import Interrupted


def main(argv: Sequence[str] | None = None) -> int:
    """Run `brim` with these arguments (the process's own by default) and return its exit code."""
    command, where = parse(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that lacks a character shows another one; that must not end the command.
            stream.reconfigure(errors="replace")
    try:
        return _run(command, where)
    except Interrupted as error:
        if isinstance(command, RunFile):
            say(_farewell_to_file(error))
        else:
            say(_farewell(error, json=isinstance(command, Submit | Watch) and command.json))
        return ExitCode.INTERRUPTED
    except KeyboardInterrupt:
        say("interrupted")
        return ExitCode.INTERRUPTED
    except MissingSettings as error:
        say(f"{error}\n  brim-server up prints lines that set them; a key is shown when it is made")
        return exit_code_of(error)
    except BrimError as error:
        say(str(error))
        return exit_code_of(error)
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OUTPUT_CLOSED
    except OSError as error:
        say(f"cannot write {error.filename or 'the output'}: {error.strerror or error}")
        return ExitCode.BAD_INPUT


def _run(command: Command, where: Where) -> ExitCode:
    match command:
        case Validate():
            return validate(command)
        case RunFile() | CancelFile():
            with FileBatches(where.url, retry=PATIENT) as batches:
                return run_file(batches, command) if isinstance(command, RunFile) else cancel_file(batches, command)
        case _:
            return _run_items(command, where)


def _run_items(command: ItemCommand, where: Where) -> ExitCode:
    with Client(where.url, workspace=where.workspace, environment=where.environment) as client:
        match command:
            case Submit():
                return submit(client, command)
            case Watch():
                return watch(client, command)
            case Get():
                return get(client, command)
            case List():
                return list_batches(client, command)
            case Explain():
                return explain(client, command)
            case Connections():
                return connections(client, command)
            case Control() | Change():
                return steer(client, command)
            case Results():
                return results(client, command)
            case DeadList() | DeadReplay() | Retry() | DeliveriesList() | DeliveriesReplay():
                return mend(client, command)
            case _:
                assert_never(command)


def _farewell(error: Interrupted, *, json: bool) -> str:
    if error.batch_id is None:
        return "interrupted before the server named the batch; it may run: look with brim list"
    again = f"brim watch {error.batch_id}"
    if json:
        again += " --json" + ("" if error.last_event_id is None else f" --last-event-id {error.last_event_id}")
    return f"interrupted; the batch runs on. Go on with: {again}   stop it with: brim cancel {error.batch_id}"


def _farewell_to_file(error: Interrupted) -> str:
    if error.batch_id is None:
        return "interrupted before the batch was made; the same command goes on"
    return f"interrupted; the batch runs on. The same command follows it; brim batch cancel {error.batch_id} stops it"
