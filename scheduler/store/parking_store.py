"""Connections that are parked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from scheduler.domain.parking import Parking
from scheduler.store.database import Database
from scheduler.store.rows import Row
from scheduler.store.statements import load_statements

_SQL = load_statements("parking")


class PostgresParkingStore:
    """Implements ports.parkings.ParkingStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
