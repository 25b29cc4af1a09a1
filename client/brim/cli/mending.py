"""What `dead`, `retry` and `deliveries` do."""

from __future__ import annotations

from itertools import islice
from typing import assert_never

from ..client import Client
from ..records import DeadLetter, Delivery
from .exit_codes import ExitCode
from .mending_arguments import DeadList, DeadReplay, DeliveriesList, DeliveriesReplay, Mending, Retry
from .output import print_table, say, write_json
from .wording import summary


def mend(client: Client, command: Mending) -> ExitCode:
    """Carry one of them out."""
    match command:
        case DeadList():
            _list_dead(client, command)
        case DeadReplay():
            _replay_dead(client, command)
        case Retry():
            batch = client.retry(command.batch_id, command.items)
            if batch.is_final:
                say("nothing failed, so nothing runs again")
            if command.json:
                write_json(batch.raw)
            else:
                print(summary(batch))
        case DeliveriesList():
            _list_deliveries(client, command)
        case DeliveriesReplay():
            _replay_deliveries(client, command)
        case _:
            assert_never(command)
    return ExitCode.OK


def _list_dead(client: Client, command: DeadList) -> None:
    which = command.which
    letters = client.dead_letters(
        error_code=which.error_code,
        resource=which.resource,
        batch_id=which.batch_id,
        page_size=min(command.limit, 100),
    )
    shown = islice(letters, command.limit)
    if command.json:
        for letter in shown:
            write_json(letter.raw)
        return
    print_table(("batch", "item", "custom id", "error"), map(_dead_row, shown), "no dead letters")


def _dead_row(letter: DeadLetter) -> tuple[str, ...]:
    error = ": ".join(part for part in (letter.error_code, letter.error_message) if part)
    return letter.batch_id, letter.item_id, letter.custom_id or "", error


def _replay_dead(client: Client, command: DeadReplay) -> None:
    """Goes on until the server names no further batches."""
    which, after = command.which, None
    items = batches = running = 0
    while True:
        replay = client.replay_dead_letters(
            error_code=which.error_code,
            resource=which.resource,
            batch_id=which.batch_id,
            after=after,
            dry_run=command.dry_run,
        )
        items += replay.items
        running += replay.running
        batches += len(replay.batches) - replay.running
        if command.json:
            for batch in replay.batches:
                write_json(batch)
        after = replay.next_after
        if after is None:
            break
    if not command.json:
        done = "would be run again" if command.dry_run else "run again"
        print(f"{items:,} item{'' if items == 1 else 's'} of {batches:,} batch{'' if batches == 1 else 'es'} {done}")
    if running:
        say(f"{running:,} more batch{'' if running == 1 else 'es'} must end first")


def _list_deliveries(client: Client, command: DeliveriesList) -> None:
    found = client.deliveries(command.batch_id, state=command.state, page_size=min(command.limit, 100))
    shown = islice(found, command.limit)
    if command.json:
        for delivery in shown:
            write_json(delivery.raw)
        return
    print_table(("delivery", "event", "state", "tries", "last error"), map(_delivery_row, shown), "no deliveries")


def _delivery_row(delivery: Delivery) -> tuple[str, ...]:
    return delivery.delivery_id, delivery.event, delivery.state, str(delivery.attempts), delivery.last_error or ""


def _replay_deliveries(client: Client, command: DeliveriesReplay) -> None:
    if command.deliveries is None:
        # Once: a receiver that still refuses makes them dead again at once, and a loop would never end.
        count = client.replay_dead_deliveries(command.batch_id)
    else:
        for delivery_id in command.deliveries:
            client.replay(command.batch_id, delivery_id)
        count = len(command.deliveries)
    if command.json:
        write_json({"replayed": count})
    else:
        print(f"{count:,} deliver{'y is' if count == 1 else 'ies are'} sent again")
