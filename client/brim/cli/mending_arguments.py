"""The commands that put things right afterwards (`dead`, `retry`, `deliveries`), as values and on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

DELIVERY_STATES = ("WAITING", "DELIVERED", "DEAD")


@dataclass(frozen=True, slots=True)
class Which:
    """Which dead letters are meant; None: whatever it is."""

    error_code: str | None
    resource: str | None
    batch_id: str | None


@dataclass(frozen=True, slots=True)
class DeadList:
    """`brim dead list`."""

    which: Which
    limit: int
    json: bool


@dataclass(frozen=True, slots=True)
class DeadReplay:
    """`brim dead replay`."""

    which: Which
    dry_run: bool
    json: bool


@dataclass(frozen=True, slots=True)
class Retry:
    """`brim retry`. items: ids; None: all that failed."""

    batch_id: str
    items: Sequence[str] | None
    json: bool


@dataclass(frozen=True, slots=True)
class DeliveriesList:
    """`brim deliveries list`."""

    batch_id: str
    state: str | None
    limit: int
    json: bool


@dataclass(frozen=True, slots=True)
class DeliveriesReplay:
    """`brim deliveries replay`. deliveries: ids; None: all that are dead."""

    batch_id: str
    deliveries: Sequence[str] | None
    json: bool


Mending = DeadList | DeadReplay | Retry | DeliveriesList | DeliveriesReplay


def add_mending(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    json: argparse.ArgumentParser,
    positive: Callable[[str], int],
) -> None:
    """Add the commands. json: the options that all of them share."""
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--code", metavar="CODE", help="only with this error code, e.g. DEAD_LETTER")
    which.add_argument("--resource", metavar="R", help="only of this resource, by name or UUID")
    which.add_argument("--batch", metavar="BATCH", help="only of this batch")

    dead = commands.add_parser("dead", help="items that failed for good: list them, run them again")
    verbs = dead.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", parents=[json, which], help="show them, newest batch first")
    listing.add_argument("--limit", type=positive, default=20, help="at most so many (default 20)")
    replay = verbs.add_parser("replay", parents=[json, which], help="run them again")
    replay.add_argument("--all", action="store_true", help="needed when nothing else says which")
    replay.add_argument("--dry-run", action="store_true", help="only say what would be run again")

    retry = commands.add_parser("retry", parents=[json], help="run the failed items of a batch again")
    retry.add_argument("batch", metavar="BATCH")
    retry.add_argument("--item", action="append", metavar="ITEM", help="only this item; repeatable")

    deliveries = commands.add_parser("deliveries", help="callbacks of a batch: list them, send them again")
    verbs = deliveries.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", parents=[json], help="show them, oldest first")
    listing.add_argument("batch", metavar="BATCH")
    listing.add_argument("--state", type=str.upper, choices=DELIVERY_STATES)
    listing.add_argument("--limit", type=positive, default=20, help="at most so many (default 20)")
    replay = verbs.add_parser("replay", parents=[json], help="send them again")
    replay.add_argument("batch", metavar="BATCH")
    replay.add_argument("delivery", metavar="DELIVERY", nargs="*")
    replay.add_argument("--dead", action="store_true", help="all that were given up")


def read_mending(parser: argparse.ArgumentParser, found: argparse.Namespace) -> Mending:
    """What was asked for. Ends the process with a usage message when it does not fit together."""
    match found.command, getattr(found, "verb", None):
        case "dead", "list":
            return DeadList(_which(found), found.limit, found.json)
        case "dead", _:
            which = _which(found)
            if which == Which(None, None, None) and not found.all:
                parser.error("dead replay needs --code, --resource or --batch, or --all")
            return DeadReplay(which, found.dry_run, found.json)
        case "deliveries", "list":
            return DeliveriesList(found.batch, found.state, found.limit, found.json)
        case "deliveries", _:
            if bool(found.delivery) == found.dead:
                parser.error("deliveries replay needs the ids of deliveries, or --dead")
            return DeliveriesReplay(found.batch, found.delivery or None, found.json)
        case _:
            return Retry(found.batch, found.item, found.json)


def _which(found: argparse.Namespace) -> Which:
    return Which(found.code, found.resource, found.batch)
