"""Outcomes: the flush that records them, and the events that it leaves for readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from scheduler.domain.batch import Event
from scheduler.domain.outcome import ItemOutcome, Recorded


@dataclass(frozen=True, slots=True)
class FlushedBatch:
    """A batch that a flush touched. ended: it is final now."""

    batch_id: UUID
    environment_id: UUID
    workspace_id: UUID
    last_event: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Flushed:
    """`recorded[i]` tells what became of outcome i. Deliveries written are counted for the sender's wake-up."""

    recorded: tuple[Recorded, ...]
    batches: tuple[FlushedBatch, ...]
    deliveries: int


class OutcomeStore(Protocol):
    """The flush, and what it leaves for readers."""

    async def flush(self, outcomes: Sequence[ItemOutcome], *, wait_for_locks: bool = False) -> Flushed:
        """Record outcomes of many batches in ONE statement (design section 7). Rows that Postgres cannot store are
        found by bisection and recorded as FAILED / RESPONSE_NOT_STORABLE. wait_for_locks: do not skip locked batches.
        """
        ...

    async def events(self, batch_id: UUID, *, after: int, limit: int) -> Sequence[Event]:
        """Numbered events in order, gapless from after + 1."""
        ...
