"""From pools to what the engine enforces: pure.

A pool has one budget on each connection that its resources target, which counts what they use of it in a minute and
holds them to the pool's largest share. Their smallest share is no limit of anybody: while they have used less of the
minute, serving them costs their queues no virtual time, so they go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from math import ceil
from uuid import UUID

from scheduler.domain.capacity import Period
from scheduler.domain.pools import Pool, PoolDefinition
from scheduler.domain.setup import Connection, Resource
from scheduler.domain.work import BudgetDefinition, BudgetKind, Limit, QueueDefinition, budget_id
from scheduler.services.budgets.limits import connection_budget, queue_definition


def pool_budget_id(pool: Pool, connection_id: UUID) -> str:
    """The budget of a pool on a connection."""
    return budget_id(BudgetKind.POOL, f"{connection_id}-{sha256(pool.name.encode()).hexdigest()[:16]}")


def pool_budgets(
    definition: PoolDefinition | None, resources: Iterable[Resource], connections: Iterable[Connection]
) -> Sequence[BudgetDefinition]:
    """The budgets of an environment's pools on those of these connections that have a limit per minute."""
    if definition is None:
        return []
    by_id = {each.connection_id: each for each in connections}
    found: dict[str, BudgetDefinition] = {}
    for resource in resources:
        pool = definition.pool_of(resource.resource_id)
        for target in resource.targets if pool else ():
            connection = by_id.get(target.connection_id)
            if pool and connection:
                limits = tuple(
                    _part(limit, pool.max_share)
                    for limit in connection_budget(connection).limits
                    if limit.period == Period.MINUTE
                )
                own = pool_budget_id(pool, target.connection_id)
                if limits:
                    found[own] = BudgetDefinition(own, definition.version + connection.version, limits)
    return list(found.values())


def _part(limit: Limit, share: float) -> Limit:
    """A part of a limit, at least 1, not paced: its connection is."""
    return replace(
        limit,
        requests=None if limit.requests is None else max(1, ceil(limit.requests * share)),
        tokens=None if limit.tokens is None else max(1, ceil(limit.tokens * share)),
        pace=None,
        direct_share=0.0,
    )


def pooled_queue(resource: Resource, definition: PoolDefinition | None) -> QueueDefinition:
    """The queue of a resource, in its pool if it has one.

    The version counts both, so that a change of either is newer; it never falls, as neither does.
    """
    queue = queue_definition(resource)
    if definition is None:
        return queue
    queue = replace(queue, version=queue.version + definition.version)
    pool = definition.pool_of(resource.resource_id)
    if pool is None:
        return queue
    return replace(
        queue,
        weight=queue.weight / 2 ** (pool.rank - 1),
        pools=tuple(pool_budget_id(pool, target.connection_id) for target in resource.targets),
        min_share=pool.min_share,
    )
