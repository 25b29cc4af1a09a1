"""What looks ahead: durations and deadlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from scheduler.domain.batch import Batch
from scheduler.store.database import Database
from scheduler.store.rows import batch_of
from scheduler.store.statements import load_statements

_SQL = load_statements("outlook")
_CALLS = 50


class PostgresOutlookStore:
    """Implements ports.outlook.OutlookStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_ms(self, batch_id: UUID) -> float | None:
        """How long the last calls of a batch took in the mean."""
        mean: float | None = await self._database.fetchval(_SQL["run_ms"], batch_id, _CALLS)
        return mean

    async def pressed(self, shard: int, limit: int) -> Sequence[Batch]:
        """Live batches of a shard with a deadline, the nearest first."""
        return [batch_of(row) for row in await self._database.fetch(_SQL["pressed"], shard, limit)]

    async def overdue(self, now: datetime, limit: int, after: Batch | None = None) -> Sequence[Batch]:
        """Live batches whose deadline has passed."""
        place = (after.deadline, after.batch_id) if after else (None, None)
        return [batch_of(row) for row in await self._database.fetch(_SQL["overdue"], now, limit, *place)]

    async def oldest_waiting(self, resource_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        """When the oldest live batch on each of these resources was made."""
        rows = await self._database.fetch(_SQL["oldest_waiting"], list(resource_ids))
        return {row["resource_id"]: row["made_at"] for row in rows}
