"""Tell the engine what binds a direct call, where it does not know: a new key, a shard without batches so far."""

from __future__ import annotations

from scheduler.domain.work import BudgetDefinition
from scheduler.ports.engine import Engine
from scheduler.ports.quotas import QuotaStore
from scheduler.ports.setup import SetupStore
from scheduler.services.budgets.lasting import set_lasting_limits
from scheduler.services.budgets.limits import caller_account, connection_budget, key_budgets, resource_budget
from scheduler.services.budgets.pool_limits import pool_budgets, pooled_queue
from scheduler.services.direct.request import DirectRequest
from scheduler.services.shards.access import Shards

REMEMBERED = 10_000
"""Accounts of caller addresses whose version is remembered."""


class DirectBinding:
    """Applies limits before the queue: nothing may run before all that binds it is there."""

    def __init__(self, setup: SetupStore, quotas: QuotaStore, engine: Engine, shards: Shards) -> None:
        self._setup = setup
        self._quotas = quotas
        self._engine = engine
        self._shards = shards
        self._told: dict[str, int] = {}

    async def bind_caller(self, shard: int, request: DirectRequest) -> None:
        """Where the key counts caller addresses: see to it that the account of this one has the limits that the key has
        now. Nobody has a list of such accounts, so who changes a key cannot tell the engine."""
        account = caller_account(request.key, request.key.caller)
        if account.limits and self._told.get(account.budget_id) != account.version:
            await self._define(shard, [account])
            if len(self._told) >= REMEMBERED:
                self._told.clear()
            self._told[account.budget_id] = account.version

    async def bind(self, shard: int, request: DirectRequest) -> None:
        """Define the queue of the request's resource and every budget of its calls."""
        key, resource = request.key, request.resource
        through = {target.connection_id for target in resource.targets}
        connections = [c for c in await self._setup.connections(key.environment_id) if c.connection_id in through]
        own = resource_budget(resource)
        budgets = [*map(connection_budget, connections), *key_budgets(key, key.caller), *([own] if own else [])]
        pools = next(iter(await self._setup.pool_definitions(key.environment_id)), None)
        budgets += pool_budgets(pools, [resource], connections)
        await self._define(shard, budgets)
        await self._shards.run(shard, lambda: self._engine.set_queues(shard, [pooled_queue(resource, pools)]))

    async def _define(self, shard: int, budgets: list[BudgetDefinition]) -> None:
        await self._shards.run(shard, lambda: set_lasting_limits(self._quotas, self._engine, shard, budgets))
