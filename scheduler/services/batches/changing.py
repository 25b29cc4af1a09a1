"""Change a live batch: priority, capacity, deadline. Decided in Postgres, true in the engine when the call answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from scheduler.domain.batch import Batch, BatchChange
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.services.batches.control import not_found
from scheduler.services.batches.control_state import tell_control_state
from scheduler.services.batches.envelope import EnvelopeReader
from scheduler.services.callers.tenants import Tenants
from scheduler.services.reading.json_text import JsonText
from scheduler.services.reading.problems import Problems
from scheduler.services.shards.access import Shards


class Changing:
    """Changes live batches."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        tenants: Tenants,
        shards: Shards,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._engine = engine
        self._tenants = tenants
        self._shards = shards
        self._now = now

    def read(self, body: bytes) -> BatchChange:
        """What a PATCH body asks for. Raises Malformed and Invalid, which go before the question whether there is such
        a batch."""
        problems = Problems()
        document = JsonText(body)
        change = EnvelopeReader(document, document.fields(), problems).read_change(self._now())
        problems.raise_if_any()
        return change

    async def change(self, environment_id: UUID, batch_id: UUID, change: BatchChange) -> Batch:
        """Apply a change. Waiting items follow it at once, running ones are not touched.

        Raises NotFound, Conflict on a final batch, Unavailable when the engine could not be told (it is stored: ask
        again).
        """
        batch = await self._store.batches.change(environment_id, batch_id, change)
        if batch is None:
            raise not_found()
        shard = await self._tenants.shard_of(environment_id)
        flows = await self._store.batches.flows(batch_id)
        await self._shards.run(shard, lambda: tell_control_state(self._store, self._engine, shard, batch, flows))
        return batch
