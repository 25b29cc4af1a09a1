"""Tell the engine how a batch is to be served: its limits, its weight, whether it is paused."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.domain.batch import Batch
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store, StoredFlow
from scheduler.services.budgets.limits import batch_budgets, flow_definition


async def tell_control_state(
    store: Store, engine: Engine, shard: int, batch: Batch, flows: Sequence[StoredFlow]
) -> None:
    """Tell these flows of a batch all of its control state, whatever of it changed: messages overtake each other and
    are lost, so the one with the newest version must be enough. Older versions are ignored by the engine.

    The limits first: a flow that is bound by a new budget must not find it undefined.
    """
    key = await store.setup.api_key(batch.environment_id, batch.api_key_id) if batch.api_key_id else None
    await engine.set_limits(shard, batch_budgets(batch, key))
    for flow in flows:
        await engine.set_flow(shard, flow_definition(batch, flow, key))
