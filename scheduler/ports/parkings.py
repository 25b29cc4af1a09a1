"""Connections that are parked: the durable side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from scheduler.domain.parking import Parking


class ParkingStore(Protocol):
    """Remembers which connections must not be used, why, and until when: it outlives Redis."""

    async def park(self, parking: Parking) -> None:
        """Note it, or put off the end of one that is noted and has not been over for an hour: that began when it was
        first parked. Nothing for a connection that does not exist (any more)."""
        ...

    async def parked(
        self, now: datetime, *, environment_id: UUID | None = None, connection_id: UUID | None = None
    ) -> Sequence[Parking]:
        """Those that are not due yet, of all or of one environment or connection."""
        ...

    async def unpark(self, connection_id: UUID) -> Sequence[str]:
        """Forget the parkings of a connection; answers their models ("": the whole connection)."""
        ...
