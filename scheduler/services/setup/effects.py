"""Carries changed set-up objects to the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from scheduler.domain.errors import Unavailable
from scheduler.domain.pools import PoolDefinition
from scheduler.domain.setup import ApiKey, Connection, Resource
from scheduler.domain.work import BudgetDefinition, BudgetHeadroom, BudgetKind, budget_id
from scheduler.ports.engine import Engine
from scheduler.ports.setup import SetupStore
from scheduler.providers.profile import Shape
from scheduler.providers.profiles import profile_of
from scheduler.services.budgets.limits import (
    caller_account,
    connection_budget,
    key_budget,
    model_budget_id,
    resource_budget,
)
from scheduler.services.budgets.model_limits import FIRST_PLACES, model_budgets
from scheduler.services.budgets.pool_limits import pool_budgets, pooled_queue
from scheduler.services.callers.tenants import Tenants
from scheduler.services.shards.access import Shards

AT_ONCE = 500
"""Budgets told in one call."""
_ABOVE_LEARNED = 1 << 40
"""The engine numbers what it learns of a model from 1 on."""
_log = structlog.get_logger(__name__)


class SetupEffects:
    """Applies limits and queues at once. The row in Postgres is the truth: while Redis is away the change
    waits for the reconciler, and the call that made it succeeds."""

    def __init__(self, setup: SetupStore, engine: Engine, tenants: Tenants, shards: Shards) -> None:
        self._setup = setup
        self._engine = engine
        self._tenants = tenants
        self._shards = shards

    async def connection_changed(self, connection: Connection) -> None:
        """Its limits hold from the next claim on; lower ones that were learned of its models do no more, until answers
        tell them again. Nor do the calls at once that were found to be worth it, where its profile has limits now."""
        await self._limits(connection.environment_id, connection_budget(connection))
        await self._forget_learned(connection)
        await self._pools_of(connection.environment_id)

    async def _forget_learned(self, connection: Connection) -> None:
        resources = await self._setup.resources(connection.environment_id)
        models = {
            model_budget_id(target.connection_id, target.model)
            for resource in resources
            for target in resource.targets
            if target.connection_id == connection.connection_id
        }
        limits = connection_budget(connection).limits
        unlimited = profile_of(connection).shape is Shape.NONE

        def fresh(report: BudgetHeadroom) -> BudgetDefinition:
            places = report.max_in_flight or FIRST_PLACES if unlimited else None
            version = _ABOVE_LEARNED + connection.version
            return BudgetDefinition(report.budget_id, version, limits if report.limits else (), places)

        async def forget(shard: int) -> None:
            known = await self._engine.headroom(shard, sorted(models))
            changed = [
                fresh(report)
                for report in known.values()
                if (report.limits and limits) or unlimited is (report.max_in_flight is None)
            ]
            await self._engine.set_limits(shard, [*changed, *model_budgets(resources, [connection], ())])

        if models:
            await self._apply(connection.environment_id, forget)

    async def resource_changed(self, resource: Resource) -> None:
        """Its limits, targets and weight hold from the next claim on."""
        own = resource_budget(resource) or _without_limits(BudgetKind.RESOURCE, resource.resource_id, resource.version)
        await self._limits(resource.environment_id, own)
        pools = await self._pools_of(resource.environment_id)
        await self._apply(
            resource.environment_id,
            lambda shard: self._engine.set_queues(shard, [pooled_queue(resource, pools)]),
        )

    async def pools_changed(self, definition: PoolDefinition) -> None:
        """Its shares hold from the next claim on."""
        await self._pools_of(definition.environment_id)
        resources = await self._setup.resources(definition.environment_id)
        queues = [pooled_queue(resource, definition) for resource in resources]
        if queues:
            await self._apply(definition.environment_id, lambda shard: self._engine.set_queues(shard, queues))

    async def _pools_of(self, environment_id: UUID) -> PoolDefinition | None:
        """The pools of an environment, their budgets applied."""
        definition = next(iter(await self._setup.pool_definitions(environment_id)), None)
        if definition is not None and definition.pools:
            resources = await self._setup.resources(environment_id)
            connections = await self._setup.connections(environment_id)
            budgets = pool_budgets(definition, resources, connections)
            await self._apply(environment_id, lambda shard: self._engine.set_limits(shard, budgets))
        return definition

    async def key_changed(self, key: ApiKey) -> None:
        """Its limits hold from the next claim on, also for what waits already. A first limit per caller address holds
        for batches made from now on: it was not noted where the others came from."""
        shard = await self._tenants.shard_of(key.environment_id)
        callers = await self._setup.live_callers(shard, key.api_key_id)
        budgets = [key_budget(key), *(caller_account(key, caller) for caller in callers)]
        for start in range(0, len(budgets), AT_ONCE):
            await self._limits(key.environment_id, *budgets[start : start + AT_ONCE])

    async def _limits(self, environment_id: UUID, *definitions: BudgetDefinition) -> None:
        await self._apply(environment_id, lambda shard: self._engine.set_limits(shard, definitions))

    async def _apply(self, environment_id: UUID, call: Callable[[int], Awaitable[None]]) -> None:
        shard = await self._tenants.shard_of(environment_id)
        try:
            await self._shards.run(shard, lambda: call(shard))
        except Unavailable as error:
            _log.warning("setup.effect_postponed", environment_id=str(environment_id), reason=error.message)


def _without_limits(kind: BudgetKind, owner: UUID, version: int) -> BudgetDefinition:
    """Flows that were opened under a limit keep naming its budget: lifted, it admits everything."""
    return BudgetDefinition(budget_id(kind, owner), version, ())
