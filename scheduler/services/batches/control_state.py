"""Tell the engine how a batch is to be served: its limits, its weight, whether it is paused."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from scheduler.domain.batch import Batch
from scheduler.domain.errors import Unavailable
from scheduler.ports.engine import Engine, EpochLost
from scheduler.ports.flows import StoredFlow
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import batch_budgets, flow_definition

_log = structlog.get_logger(__name__)


async def tell_control_state(
    store: Store, engine: Engine, shard: int, batch: Batch, flows: Sequence[StoredFlow]
) -> None:
    """Tell these flows of a batch all of its control state, whatever of it changed: messages overtake each other and
    are lost, so the one with the newest version must be enough. Older versions are ignored by the engine.

    The limits first: a flow that is bound by a new budget must not find it undefined. A pause goes before them, because
    limits need memory that Redis may not have, and nothing that is paused is bound by any: those that are refused are
    told by the reconciler, or before the pause ends. Raises Unavailable.
    """
    key = await store.setup.api_key(batch.environment_id, batch.api_key_id) if batch.api_key_id else None
    budgets = batch_budgets(batch, key)
    if not batch.paused:
        await engine.set_limits(shard, budgets)
    for flow in flows:
        await engine.set_flow(shard, flow_definition(batch, flow, key))
    if batch.paused:
        try:
            await engine.set_limits(shard, budgets)
        except EpochLost:
            raise
        except Unavailable as error:
            _log.warning("batch.limits_postponed", batch_id=str(batch.batch_id), reason=error.message)
