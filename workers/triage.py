"""What to do with each claimed entry, from what Postgres says of it: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from scheduler.domain.setup import Resource, Target
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.domain.work import BudgetKind, Lease
from scheduler.ports.items import Loaded, LoadedItem
from workers.decision import Record

CRASHES = 5
"""So many holders died with an entry that is a dead letter (as the engine counts)."""


@dataclass(frozen=True, slots=True)
class Send:
    """Make the call."""

    item: LoadedItem
    target: Target


@dataclass(frozen=True, slots=True)
class Drop:
    """The lease is of an epoch that is gone: its call is not made."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Nothing is left to do for this run (it has its outcome, or is no longer the current one)."""


@dataclass(frozen=True, slots=True)
class Lessen:
    """Give the entry back, to be reserved by what its item was accepted with: a guess that rose fits no more."""

    out_tokens: int


@dataclass(frozen=True, slots=True)
class MoveOn:
    """Give the entry back, bound for its next target: it is too large for this one."""

    target: int


Step = Send | Drop | Settle | Lessen | MoveOn | Record

_OF_A_TARGET = tuple(f"{kind.value}-" for kind in (BudgetKind.CONNECTION, BudgetKind.MODEL, BudgetKind.POOL))
DROP = Drop()
SETTLE = Settle()


@lru_cache(maxsize=8192)
def uuid_of(text: str) -> UUID:
    """Parse an id of the engine; the same few come again and again."""
    return UUID(text)


def dead_letter() -> Record:
    """The record of an entry that its holders do not survive."""
    return Record(
        ItemStatus.FAILED,
        error_code="DEAD_LETTER",
        error_message=f"Given up: its worker died {CRASHES} times while it ran.",
    )


def triage(lease: Lease, loaded: Loaded, resource: Resource | None) -> Step:
    """What to do with one claimed entry. Expects every lease of the claim to have been asked for in
    `loaded`."""
    if lease.ref.fence.epoch < loaded.epoch:
        return DROP
    item = loaded.items.get((uuid_of(lease.ref.flow.batch_id), lease.ref.position))
    if item is None or item.finished or item.run != item.current_run:
        return SETTLE
    if item.batch_status is BatchStatus.CANCELLED:
        # Not given back: if the flow is not dead yet (Redis was away at the cancel), it would come round
        # for ever.
        return Record(ItemStatus.CANCELLED)
    if lease.dead:
        return dead_letter()
    if lease.exceeds:
        return _too_large(lease, item, resource)
    if _passed(item.deadline, loaded.database_now):
        return _failed("DEADLINE_EXCEEDED", "The batch's deadline passed before the item could start.")
    if resource is None:
        return _failed("AI_RESOURCE_NOT_FOUND", "The resource of this item does not exist any more.")
    if lease.target >= len(resource.targets):
        return _failed("AI_CONNECTION_NOT_FOUND", "The resource lost the target that this item was to use.")
    return Send(item, resource.targets[lease.target])


def _too_large(lease: Lease, item: LoadedItem, resource: Resource | None) -> Step:
    if lease.entry.out_tokens > item.out_tokens:
        return Lessen(item.out_tokens)
    further = lease.target + 1
    if resource is not None and further < len(resource.targets) and lease.exceeds.startswith(_OF_A_TARGET):
        return MoveOn(further)
    return _failed("ITEM_EXCEEDS_CAPACITY", "The item is larger than a limit that applies to it.")


def _passed(deadline: datetime | None, now: datetime) -> bool:
    return deadline is not None and deadline <= now


def _failed(code: str, message: str) -> Record:
    return Record(ItemStatus.FAILED, error_code=code, error_message=message)
