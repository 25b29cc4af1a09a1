"""From pools to budgets and queues."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.pools import Pool, PoolDefinition
from scheduler.domain.setup import Connection, Resource
from scheduler.domain.work import BudgetDefinition, Limit
from scheduler.services.budgets.limits import queue_definition
from scheduler.services.budgets.pool_limits import pool_budget_id, pool_budgets, pooled_queue
from tests.store.factories import NOW, Tenant, connection_in, resource_in

TENANT = Tenant(*(UUID(int=i) for i in range(1, 7)))
POOL = Pool("gold", 2, 0.3, 0.5, (TENANT.resource_id,))
LIMITS = (Capacity(Period.MINUTE, requests=61, tokens=1_000), Capacity(Period.DAY, requests=9_000))


def connection(**changes: Any) -> Connection:
    return connection_in(TENANT, **({"capacity": LIMITS} | changes))


def resource() -> Resource:
    return resource_in(TENANT, TENANT.resource_id, "r")


def definition(*pools: Pool, version: int = 5) -> PoolDefinition:
    return PoolDefinition(TENANT.workspace_id, TENANT.environment_id, pools, version, NOW, NOW)


def test_a_pool_has_its_largest_share_of_a_connections_minute() -> None:
    own = connection()
    [found] = pool_budgets(definition(POOL), [resource()], [own])
    assert found == BudgetDefinition(
        pool_budget_id(POOL, own.connection_id), 5 + own.version, (Limit("MINUTE", 31, 500),), None
    )


def test_without_a_limit_per_minute_there_is_nothing_to_share() -> None:
    assert pool_budgets(definition(POOL), [resource()], [connection(capacity=LIMITS[1:])]) == []
    assert pool_budgets(definition(POOL), [resource()], []) == []
    assert pool_budgets(definition(), [resource()], [connection()]) == []
    assert pool_budgets(None, [resource()], [connection()]) == []


def test_a_pooled_queue_names_its_pool_per_target_and_weighs_by_rank() -> None:
    plain = queue_definition(resource())
    queue = pooled_queue(resource(), definition(POOL))
    assert queue.pools == tuple(pool_budget_id(POOL, each.connection_id) for each in resource().targets)
    assert (queue.min_share, queue.weight, queue.version) == (0.3, plain.weight / 2, plain.version + 5)


def test_a_queue_that_left_its_pool_is_newer_than_in_it() -> None:
    left = pooled_queue(resource(), definition(version=6))
    assert (left.pools, left.min_share) == ((), 0.0)
    assert left.version > pooled_queue(resource(), definition(POOL)).version
    assert pooled_queue(resource(), None) == queue_definition(resource())
