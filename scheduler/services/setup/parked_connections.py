"""Parked connections for people: shown, and opened again by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from scheduler.domain.parking import Parking
from scheduler.domain.setup import Connection
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.services.budgets.pausing import ALL_MODELS, budget_of
from scheduler.services.callers.tenants import Tenants
from scheduler.services.shards.access import Shards

_log = structlog.get_logger(__name__)


class ParkedConnections:
    """Shows parkings, and ends them by hand."""

    def __init__(
        self, store: Store, engine: Engine, tenants: Tenants, shards: Shards, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._engine = engine
        self._tenants = tenants
        self._shards = shards
        self._now = now

    async def of(self, connection: Connection) -> Sequence[Parking]:
        """Why a connection is parked now, one reason a model ("": all of it)."""
        return await self._store.parkings.parked(self._now(), connection_id=connection.connection_id)

    async def within(self, environment_id: UUID | None = None) -> Sequence[Parking]:
        """What is parked now, of one environment or of all."""
        return await self._store.parkings.parked(self._now(), environment_id=environment_id)

    async def resume(self, connection: Connection) -> None:
        """Let one call be tried at once. Nothing happens to a connection that is not parked. Raises Unavailable when
        the engine could not be told (ask again)."""
        shard = await self._tenants.shard_of(connection.environment_id)
        models = {each.model for each in await self.of(connection)} | {ALL_MODELS}
        await self._open(shard, connection, models)  # while the rows say what to open, should the engine be away
        forgotten = await self._store.parkings.unpark(connection.connection_id)
        # Once more: a recovery meanwhile finds either the rows, and then us, or none.
        await self._open(shard, connection, models.union(forgotten))
        if forgotten:
            _log.info("connection.resumed", connection_id=str(connection.connection_id))

    async def _open(self, shard: int, connection: Connection, models: Iterable[str]) -> None:
        for model in sorted(models):
            budget = budget_of(connection.connection_id, model)
            await self._shards.run(shard, lambda: self._engine.resume_budget(shard, budget))  # noqa: B023 - run at once
