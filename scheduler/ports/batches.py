"""Batches: their creation and their control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from scheduler.domain.batch import Batch, BatchChange, NewBatch, NewItem
from scheduler.domain.status import BatchStatus
from scheduler.ports.flows import StoredFlow
from scheduler.ports.pages import Page


@dataclass(frozen=True, slots=True)
class Reservation:
    """Answer of an idempotency check. batch_id is the earlier batch when `replay`."""

    replay: bool
    batch_id: UUID


class BatchStore(Protocol):
    """Batches, their creation and their control."""

    async def reserve_idempotency(
        self, environment_id: UUID, key: str, body_hash: bytes, batch_id: UUID
    ) -> Reservation:
        """Claim an Idempotency-Key for `batch_id` for 24 h. Conflict IDEMPOTENCY_CONFLICT for another body,
        IN_PROGRESS while the first creation has not finished (a reservation without batch older than 30 s is
        taken over: whoever made it died, or lost Postgres)."""
        ...

    async def release_idempotency(self, environment_id: UUID, key: str, batch_id: UUID) -> None:
        """Give the key back after a creation that failed."""
        ...

    async def create(
        self, batch: NewBatch, items: Sequence[NewItem], *, idempotency_key: str | None = None
    ) -> tuple[Batch, Sequence[StoredFlow]]:
        """Store a whole batch in one transaction: batch row (sealed, stored = its items), items by COPY in chunks with
        seq 1…n in order, its flows, event 1 `batch-created` with its snapshot. Nothing is visible before the end.
        idempotency_key: reserved for it; Conflict IN_PROGRESS when it was taken over meanwhile, with nothing stored."""
        ...

    async def get(self, environment_id: UUID, batch_id: UUID) -> Batch | None:
        """One, as it is now; None if it does not exist in that environment."""
        ...

    async def list(
        self, environment_id: UUID, *, limit: int, after: UUID | None, status: BatchStatus | None
    ) -> Page[Batch]:
        """Newest first by batch id (UUIDv7); `after` is the last id of the page before."""
        ...

    async def flows(self, batch_id: UUID) -> Sequence[StoredFlow]:
        """The flows of a batch, in order of the first item of each."""
        ...

    async def cancel(self, environment_id: UUID, batch_id: UUID) -> Batch | None:
        """Status CANCELLED and version + 1 unless final (then unchanged); None if it does not exist. The end
        event is written later, when every item has an outcome (or now, if all have)."""
        ...

    async def end_full(self, batch_ids: Sequence[UUID]) -> Sequence[UUID]:
        """End those that are sealed, not ended, and whose items all have outcomes (the flush does so itself; this is
        for the reconciler). Answers the ended ones: ring their doorbells."""
        ...

    async def retry(
        self,
        environment_id: UUID,
        batch_id: UUID,
        seqs: Sequence[int] | None = None,
        *,
        error_code: str | None = None,
        resource_id: UUID | None = None,
    ) -> tuple[Batch, int] | None:
        """Run the failed items (of `seqs`, with that code, of that resource, or all) of an ended batch again: their
        runs and the version rise, old outcomes stay as history, event numbers go on. (batch, how many); unchanged when
        none of them failed; None if it does not exist. Conflict INVALID_STATE before its end."""
        ...

    async def set_paused(self, environment_id: UUID, batch_id: UUID, paused: bool) -> Batch | None:
        """version + 1 when it changed. Conflict INVALID_STATE on a final batch."""
        ...

    async def change(self, environment_id: UUID, batch_id: UUID, change: BatchChange) -> Batch | None:
        """Change a live batch, version + 1. Conflict INVALID_STATE on a final one; None if it does not exist."""
        ...

    async def mark_running(self, batch_ids: Sequence[UUID]) -> None:
        """PENDING → RUNNING; others unchanged."""
        ...
