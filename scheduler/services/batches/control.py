"""Cancel, pause and resume: decided in Postgres, carried to the engine, true when the call answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from scheduler.domain.batch import Batch
from scheduler.domain.errors import NotFound, Unavailable
from scheduler.domain.work import Doorbell
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.services.batches.control_state import tell_control_state
from scheduler.services.budgets.limits import flow_ref
from scheduler.services.callers.tenants import Tenants
from scheduler.services.shards.access import Shards
from scheduler.settings import Settings

GUARD_MS = 250
"""Added to the time within which a claimed call must leave: network and a slow event loop."""

_log = structlog.get_logger(__name__)


def not_found() -> NotFound:
    """The answer for a batch that does not exist in this environment."""
    return NotFound("There is no such batch.", code="COMPLETION_BATCH_NOT_FOUND")


class BatchControl:
    """Changes the course of live batches."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        tenants: Tenants,
        shards: Shards,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._tenants = tenants
        self._shards = shards
        self._sleep = sleep

    async def cancel(self, environment_id: UUID, batch_id: UUID) -> Batch:
        """Cancel a batch; when this returns, no new call of it reaches the provider. Final batches are
        unchanged.

        That holds without Redis: an item claimed after the row changed is found CANCELLED when it is
        loaded, and one claimed before leaves within start_by_ms of its claim or not at all; so it is
        enough to wait that long. Making the flows dead in the engine only spares claims, and the
        reconciler does it when Redis is away now. Raises NotFound; Unavailable when Postgres is down (then
        it may or may not be cancelled: ask again).
        """
        batch = await self._store.batches.cancel(environment_id, batch_id)
        if batch is None:
            raise not_found()
        if batch.ended:
            return batch
        wait = asyncio.ensure_future(self._sleep((self._settings.start_by_ms + GUARD_MS) / 1000))
        try:
            await self._kill_flows(batch)
        except Unavailable as error:
            _log.warning("batch.cancel_postponed", batch_id=str(batch_id), reason=error.message)
        await wait
        await self._ring(batch)
        return await self._store.batches.get(environment_id, batch_id) or batch

    async def pause(self, environment_id: UUID, batch_id: UUID) -> Batch:
        """Hold the waiting items. Raises NotFound, Conflict on a final batch, Unavailable when the engine
        could not be told (it is stored: ask again)."""
        return await self._set_paused(environment_id, batch_id, paused=True)

    async def resume(self, environment_id: UUID, batch_id: UUID) -> Batch:
        """Let the waiting items go on. Raises as `pause` does."""
        return await self._set_paused(environment_id, batch_id, paused=False)

    async def _set_paused(self, environment_id: UUID, batch_id: UUID, *, paused: bool) -> Batch:
        batch = await self._store.batches.set_paused(environment_id, batch_id, paused)
        if batch is None:
            raise not_found()
        shard = await self._tenants.shard_of(environment_id)
        flows = await self._store.batches.flows(batch_id)
        await self._shards.run(shard, lambda: tell_control_state(self._store, self._engine, shard, batch, flows))
        return batch

    async def _kill_flows(self, batch: Batch) -> None:
        shard = await self._tenants.shard_of(batch.environment_id)
        flows = await self._store.batches.flows(batch.batch_id)

        async def kill_all() -> None:
            for flow in flows:
                await self._engine.cancel(shard, flow_ref(flow), batch.version)

        await self._shards.run(shard, kill_all)

    async def _ring(self, batch: Batch) -> None:
        """Wake the readers: a batch without outstanding items ended with the cancel itself."""
        try:
            shard = await self._tenants.shard_of(batch.environment_id)
            flows = await self._store.batches.flows(batch.batch_id)
            bells = [Doorbell(flow_ref(flow).queue, str(batch.batch_id), batch.last_event) for flow in flows[:1]]
            await self._shards.run(shard, lambda: self._engine.ring(shard, bells))
        except Unavailable as error:
            _log.warning("batch.doorbell_missed", batch_id=str(batch.batch_id), reason=error.message)
