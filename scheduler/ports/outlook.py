"""What is asked of the store to look ahead: how long calls take, which batches are pressed for time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from scheduler.domain.batch import Batch


class OutlookStore(Protocol):
    """Reads for forecasts and deadlines; nothing on the hot path."""

    async def run_ms(self, batch_id: UUID) -> float | None:
        """How long the last calls of a batch took in the mean; None when none has ended yet."""
        ...

    async def pressed(self, shard: int, limit: int) -> Sequence[Batch]:
        """Live batches of a shard with a deadline, the nearest first."""
        ...

    async def overdue(self, now: datetime, limit: int, after: Batch | None = None) -> Sequence[Batch]:
        """Live batches whose deadline has passed, of all shards, the longest overdue first. after: the last one of the
        page before."""
        ...

    async def oldest_waiting(self, resource_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        """When the oldest live batch on each of these resources was made; those that have none are left out."""
        ...
