"""What looks ahead: durations, deadlines, and connections that are parked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from scheduler.domain.batch import Batch
from scheduler.domain.parking import Parking
from scheduler.store.database import Database
from scheduler.store.rows import Row, batch_of
from scheduler.store.statements import load_statements

_SQL = load_statements("outlook")
_CALLS = 50


class PostgresOutlookStore:
    """Implements ports.outlook.OutlookStore and ports.parkings.ParkingStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_ms(self, batch_id: UUID) -> float | None:
        """How long the last calls of a batch took in the mean."""
        mean: float | None = await self._database.fetchval(_SQL["run_ms"], batch_id, _CALLS)
        return mean

    async def pressed(self, shard: int, limit: int) -> Sequence[Batch]:
        """Live batches of a shard with a deadline, the nearest first."""
        return [batch_of(row) for row in await self._database.fetch(_SQL["pressed"], shard, limit)]

    async def overdue(self, now: datetime, limit: int) -> Sequence[Batch]:
        """Live batches whose deadline has passed."""
        return [batch_of(row) for row in await self._database.fetch(_SQL["overdue"], now, limit)]

    async def oldest_waiting(self, resource_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        """When the oldest live batch on each of these resources was made."""
        rows = await self._database.fetch(_SQL["oldest_waiting"], list(resource_ids))
        return {row["resource_id"]: row["made_at"] for row in rows}

    async def park(self, parking: Parking) -> None:
        """Note a parking, or put off its end."""
        await self._database.execute(
            _SQL["park"],
            parking.connection_id,
            parking.model,
            parking.code,
            parking.reason,
            parking.parked_at,
            parking.due_at,
        )

    async def parked(
        self, now: datetime, *, environment_id: UUID | None = None, connection_id: UUID | None = None
    ) -> Sequence[Parking]:
        """Those that are not due yet."""
        return [
            _parking_of(row) for row in await self._database.fetch(_SQL["parked"], environment_id, connection_id, now)
        ]

    async def unpark(self, connection_id: UUID) -> Sequence[str]:
        """Forget the parkings of a connection."""
        return [row["model"] for row in await self._database.fetch(_SQL["unpark"], connection_id)]

    async def forget_parkings(self, now: datetime) -> int:
        """Forget those that are over for long."""
        return await self._database.execute(_SQL["forget_parkings"], now)


def _parking_of(row: Row) -> Parking:
    return Parking(
        connection_id=row["connection_id"],
        model=row["model"],
        code=row["code"],
        reason=row["reason"],
        parked_at=row["parked_at"],
        due_at=row["due_at"],
        times=row["times"],
        workspace_id=row["workspace_id"],
        environment_id=row["environment_id"],
        connection_name=row["connection_name"],
    )
