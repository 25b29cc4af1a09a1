"""What `pause`, `resume`, `cancel` and `change` do."""

from __future__ import annotations

from typing import assert_never

from ..client import Client
from .exit_codes import ExitCode
from .output import moment, say, write_json
from .steering_arguments import Change, Control, Steering
from .wording import limits_text, summary


def steer(client: Client, command: Steering) -> ExitCode:
    """Stop a batch, hold what waits of it, let that go on, or change what it was given. To stop one that has ended is
    no error."""
    match command:
        case Control():
            _control(client, command)
        case Change():
            _change(client, command)
        case _:
            assert_never(command)
    return ExitCode.OK


def _control(client: Client, command: Control) -> None:
    match command.verb:
        case "cancel":
            batch = client.cancel(command.batch_id)
        case "pause":
            batch = client.pause(command.batch_id)
        case "resume":
            batch = client.resume(command.batch_id)
        case _:
            assert_never(command.verb)
    if command.json:
        write_json(batch.raw)
    elif command.verb == "cancel":
        if batch.is_final and batch.status != "CANCELLED":
            say("it had ended, and stays as it is")
        print(summary(batch))
    else:
        print(f"batch {batch.batch_id} {'is held; what runs of it ends by itself' if batch.paused else 'goes on'}")


def _change(client: Client, command: Change) -> None:
    batch = client.change(command.batch_id, **command.changes)
    if command.json:
        write_json(batch.raw)
        return
    if batch.warning is not None:
        say(batch.warning)
    limits = limits_text(batch) or "no limits of its own"
    deadline = f"deadline {moment(batch.deadline)}" if batch.deadline else "no deadline"
    print(f"batch {batch.batch_id}: priority {batch.priority} · {limits} · {deadline}")
