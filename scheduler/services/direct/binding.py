"""Tell the engine what binds a direct call, where it does not know: a new key, a shard without batches so far."""

from __future__ import annotations

from scheduler.ports.engine import Engine
from scheduler.ports.store import SetupStore
from scheduler.services.budgets.limits import connection_budget, key_budgets, resource_budget
from scheduler.services.budgets.pool_limits import pool_budgets, pooled_queue
from scheduler.services.direct.request import DirectRequest
from scheduler.services.shards.access import Shards


class DirectBinding:
    """Applies limits before the queue: nothing may run before all that binds it is there."""

    def __init__(self, setup: SetupStore, engine: Engine, shards: Shards) -> None:
        self._setup = setup
        self._engine = engine
        self._shards = shards

    async def bind(self, shard: int, request: DirectRequest) -> None:
        """Define the queue of the request's resource and every budget of its calls."""
        key, resource = request.key, request.resource
        through = {target.connection_id for target in resource.targets}
        connections = [c for c in await self._setup.connections(key.environment_id) if c.connection_id in through]
        own = resource_budget(resource)
        budgets = [*map(connection_budget, connections), *key_budgets(key, key.caller), *([own] if own else [])]
        pools = next(iter(await self._setup.pool_definitions(key.environment_id)), None)
        budgets += pool_budgets(pools, [resource], connections)
        await self._shards.run(shard, lambda: self._engine.set_limits(shard, budgets))
        await self._shards.run(shard, lambda: self._engine.set_queues(shard, [pooled_queue(resource, pools)]))
