"""The commands that steer a live batch (`pause`, `resume`, `cancel`, `change`), as values and on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..submission import BatchChanges, CapacityInput, Priority


@dataclass(frozen=True, slots=True)
class Control:
    """`brim cancel`, `brim pause` and `brim resume`."""

    batch_id: str
    verb: Literal["cancel", "pause", "resume"]
    json: bool


@dataclass(frozen=True, slots=True)
class Change:
    """`brim change`. changes: what is named, and nothing else."""

    batch_id: str
    changes: BatchChanges
    json: bool


Steering = Control | Change


def add_steering(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    json: argparse.ArgumentParser,
    capacity: Callable[[str], Sequence[CapacityInput]],
) -> None:
    """Add the commands. json: the options that all of them share; capacity: reads limits as a person types them."""
    for verb, does in (
        ("pause", "hold what waits of a batch"),
        ("resume", "let a paused batch go on"),
        ("cancel", "stop a batch"),
    ):
        commands.add_parser(verb, parents=[json], help=does).add_argument("batch", metavar="BATCH")

    change = commands.add_parser("change", parents=[json], help="change priority, limits or deadline of a live batch")
    change.add_argument("batch", metavar="BATCH")
    change.add_argument("--priority", choices=get_args(Priority))
    limits = change.add_mutually_exclusive_group()
    limits.add_argument(
        "--capacity", type=capacity, metavar="LIMITS", help="in place of all limits of its own: 600rpm/60ktpm or JSON"
    )
    limits.add_argument("--no-capacity", action="store_true", help="take its own limits away")
    end = change.add_mutually_exclusive_group()
    end.add_argument("--deadline", metavar="TIME", help="ISO 8601, with a time zone")
    end.add_argument("--no-deadline", action="store_true", help="take its deadline away")


def read_steering(parser: argparse.ArgumentParser, found: argparse.Namespace) -> Steering:
    """What was asked for. Ends the process with a usage message when nothing is to change."""
    if found.command != "change":
        return Control(found.batch, found.command, found.json)
    changes = BatchChanges()
    if found.priority is not None:
        changes["priority"] = found.priority
    if found.capacity is not None or found.no_capacity:
        changes["capacity"] = found.capacity
    if found.deadline is not None or found.no_deadline:
        changes["deadline"] = found.deadline
    if not changes:
        parser.error("nothing to change: name --priority, --[no-]capacity or --[no-]deadline")
    return Change(found.batch, changes, found.json)
