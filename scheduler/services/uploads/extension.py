"""Tell the engine that the flows of an early upload have grown, or that nothing more will come."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.domain.batch import Batch
from scheduler.domain.setup import ApiKey
from scheduler.domain.work import Doorbell, FlowState
from scheduler.ports.engine import Engine
from scheduler.ports.flows import StoredFlow
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import flow_definition, flow_ref
from scheduler.services.shards.refill import Refill

_TRIES = 3
"""A refiller may move the cursor between our look and our push; the next extension or the reconciler does the rest."""


class Extension:
    """Extends flows by compare-and-set, so that repeating it is harmless."""

    def __init__(self, store: Store, engine: Engine, window_entries: int) -> None:
        self._engine = engine
        self._refill = Refill(store, engine)
        self._window = window_entries

    async def extend(self, shard: int, batch: Batch, flows: Sequence[StoredFlow], key: ApiKey | None) -> None:
        """Let flows take what is stored by now; their budgets and queues must be known to the engine."""
        states = await self._engine.flows(shard, [flow_ref(flow) for flow in flows])
        for flow in flows:
            await self._extend(shard, batch, flow, key, states.get(flow_ref(flow)))

    async def _extend(
        self, shard: int, batch: Batch, flow: StoredFlow, key: ApiKey | None, state: FlowState | None
    ) -> None:
        definition = flow_definition(batch, flow, key)
        if state is None:
            await self._refill.fill(shard, definition, flow.generation, 0, self._window)
            return
        for _ in range(_TRIES):
            if state is None or state.dead or (state.end >= flow.last and not batch.sealed):
                return
            room = self._window - state.waiting
            filled = await self._refill.fill(shard, definition, state.generation, state.cursor, room)
            if filled.applied and filled.pushed:
                return
            if filled.applied and await self._engine.push(
                shard, definition, state.generation, state.cursor, state.cursor, []
            ):
                return
            state = (await self._engine.flows(shard, [flow_ref(flow)])).get(flow_ref(flow))

    async def ended(self, shard: int, batch: Batch, flows: Sequence[StoredFlow]) -> None:
        """The batch ended as it was sealed: ring its readers, and let the engine forget its flows."""
        for flow in flows:
            await self._engine.cancel(shard, flow_ref(flow), batch.version)
        for flow in flows[:1]:
            await self._engine.ring(shard, [Doorbell(flow_ref(flow).queue, str(batch.batch_id), batch.last_event)])
