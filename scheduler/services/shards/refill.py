"""Bring waiting entries of a flow from Postgres to its window in Redis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from scheduler.domain.batch import Batch
from scheduler.domain.setup import ApiKey
from scheduler.domain.status import FINAL_BATCH
from scheduler.domain.work import FlowDefinition, RefillOrder
from scheduler.ports.engine import Engine
from scheduler.ports.flows import StoredFlow
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import flow_definition

CHUNK = 2_000
"""Entries of one push."""
LOOKS = 50
"""Reads of one fill at most: a flow whose next ranges are all finished goes on at its next order."""


@dataclass(frozen=True, slots=True)
class Filled:
    """pushed: entries that went to the window. applied: False when another was faster or the order was
    stale."""

    pushed: int
    applied: bool


Lengths = Callable[[UUID, UUID], int | None]
"""What this process has seen of the answers of a (resource, batch), in tokens; None: too little."""


def _nothing_known(_resource_id: UUID, _batch_id: UUID) -> int | None:
    return None


class Refill:
    """Fills windows by compare-and-set on (generation, cursor), so doing it twice is harmless.

    known: lengths of answers that the store may not have been told yet.
    """

    def __init__(self, store: Store, engine: Engine, known: Lengths = _nothing_known) -> None:
        self._store = store
        self._engine = engine
        self._known = known

    async def carry_out(self, shard: int, order: RefillOrder) -> Filled:
        """Do what a claim ordered. Orders of final batches and of older generations come to nothing."""
        batch_id = UUID(order.flow.batch_id)
        resource_id = UUID(order.flow.queue.resource_id)
        batches = await self._store.shards.batches([batch_id])
        flows = [f for f in await self._store.batches.flows(batch_id) if f.resource_id == resource_id]
        if not batches or not flows or batches[0].status in FINAL_BATCH:
            return Filled(0, False)
        definition = await self.define(batches[0], flows[0])
        return await self.fill(shard, definition, order.generation, order.cursor, order.room)

    async def define(self, batch: Batch, flow: StoredFlow) -> FlowDefinition:
        """The engine's definition of a stored flow, bound by its batch and the key that made it."""
        return flow_definition(batch, flow, await self._key_of(batch))

    async def fill(self, shard: int, flow: FlowDefinition, generation: int, cursor: int, room: int) -> Filled:
        """Push up to `room` entries from `cursor` on; stops early when the flow's end is reached."""
        batch_id, resource_id = UUID(flow.flow.batch_id), UUID(flow.flow.queue.resource_id)
        pushed = 0
        for _ in range(LOOKS):
            if cursor >= flow.end or pushed >= room:
                break
            limit = min(CHUNK, room - pushed)
            following, entries = await self._store.items.window(
                batch_id,
                resource_id,
                after_seq=cursor,
                limit=limit,
                known_tokens=self._known(resource_id, batch_id),
            )
            if following <= cursor:
                break
            if not await self._engine.push(shard, flow, generation, cursor, following, entries):
                return Filled(pushed, False)
            cursor = following
            pushed += len(entries)
        return Filled(pushed, True)

    async def _key_of(self, batch: Batch) -> ApiKey | None:
        if batch.api_key_id is None:
            return None
        return await self._store.setup.api_key(batch.environment_id, batch.api_key_id)
