"""What limits admit now, and how the whole stands: live readings for people and dashboards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from scheduler.domain.setup import Connection, Resource
from scheduler.domain.work import BudgetKind, budget_id
from scheduler.ports.engine import Engine
from scheduler.ports.shards import WORKER
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import model_budget_id, queue_ref
from scheduler.services.callers.tenants import Tenants
from scheduler.services.explain.headroom_views import (
    ConnectionHeadroom,
    ModelHeadroom,
    ProcessView,
    QueueView,
    ResourceHeadroom,
    ShardView,
    StatusView,
    budget_view,
    parked_connections,
)
from scheduler.services.setup.views import parked_views
from scheduler.services.shards.access import Shards

ALIVE_WITHIN_S = 15.0
"""A process that gave no sign of life for this long counts as gone."""


class Readings:
    """Reads the engine for people. Raises Unavailable when Redis is away."""

    def __init__(self, store: Store, engine: Engine, tenants: Tenants, shards: Shards) -> None:
        self._store = store
        self._engine = engine
        self._tenants = tenants
        self._shards = shards

    async def of_connection(self, connection: Connection) -> ConnectionHeadroom:
        """What a connection admits now."""
        [found], _ = await self._connections(connection.environment_id, [connection])
        return found

    async def of_resource(self, resource: Resource) -> ResourceHeadroom:
        """What a resource admits now, and through which connections."""
        by_id = {each.connection_id: each for each in await self._store.setup.connections(resource.environment_id)}
        through = [by_id[target.connection_id] for target in resource.targets if target.connection_id in by_id]
        shard = await self._tenants.shard_of(resource.environment_id)
        own = budget_id(BudgetKind.RESOURCE, resource.resource_id)
        budgets = await self._shards.run(shard, lambda: self._engine.headroom(shard, [own]))
        depths = await self._shards.run(shard, lambda: self._engine.queue_depths(shard))
        queue = queue_ref(resource.workspace_id, resource.environment_id, resource.resource_id)
        targets, oldest = await self._connections(resource.environment_id, through, {resource.resource_id})
        return ResourceHeadroom(
            resource_id=resource.resource_id,
            name=resource.name,
            budget=budget_view(budgets.get(own)),
            targets=targets,
            waiting=depths.queues.get(queue, 0),
            oldest_waiting_at=oldest.get(resource.resource_id),
        )

    async def status(self) -> StatusView:
        """Live workers, and what waits on every shard that has environments."""
        alive = await self._store.shards.alive(ALIVE_WITHIN_S)
        shards: list[ShardView] = []
        queues: list[QueueView] = []
        for shard in await self._store.shards.live_shards():
            depths = await self._shards.run(shard, lambda: self._engine.queue_depths(shard))  # noqa: B023 - run at once
            shards.append(ShardView(shard, depths.active, depths.standby, depths.leases, depths.overdue_leases))
            queues += [QueueView(*queue, waiting) for queue, waiting in depths.queues.items()]
        return StatusView(
            workers=[
                ProcessView(each["holder"], each["kind"], each["beat_at"], _for_people(each["info"]))
                for each in alive
                if each["kind"] == WORKER
            ],
            active=sum(each.active for each in shards),
            standby=sum(each.standby for each in shards),
            leases=sum(each.leases for each in shards),
            shards=shards,
            queues=queues,
            parked=parked_connections(await self._store.parkings.parked(datetime.now(UTC))),
        )

    async def _connections(
        self, environment_id: UUID, connections: Sequence[Connection], also: Set[UUID] = frozenset()
    ) -> tuple[list[ConnectionHeadroom], Mapping[UUID, datetime]]:
        """What connections admit; and when the oldest live batch was made on each resource that goes through them, and
        on those in `also`."""
        shard = await self._tenants.shard_of(environment_id)
        learned = await self._store.setup.learned_limits([each.connection_id for each in connections])
        names = {model_budget_id(each.connection_id, each.model): each for each in learned}
        ids = [budget_id(BudgetKind.CONNECTION, each.connection_id) for each in connections]
        budgets = await self._shards.run(shard, lambda: self._engine.headroom(shard, [*ids, *names]))
        parkings = await self._store.parkings.parked(datetime.now(UTC), environment_id=environment_id)
        through: dict[UUID, set[UUID]] = {each.connection_id: set() for each in connections}
        for resource in await self._store.setup.resources(environment_id):
            for target in resource.targets:
                if target.connection_id in through:
                    through[target.connection_id].add(resource.resource_id)
        oldest = await self._store.outlook.oldest_waiting(list(set(also).union(*through.values())))
        found = [
            ConnectionHeadroom(
                connection_id=each.connection_id,
                name=each.name,
                budget=budget_view(budgets.get(budget)),
                parked=parked_views(parkings, each.connection_id),
                models=[
                    ModelHeadroom(model=known.model, budget=budget_view(budgets.get(name)))
                    for name, known in names.items()
                    if known.connection_id == each.connection_id
                ],
                oldest_waiting_at=min(
                    (oldest[one] for one in through[each.connection_id] if one in oldest), default=None
                ),
            )
            for each, budget in zip(connections, ids, strict=True)
        ]
        return found, oldest


def _for_people(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a process tells of itself, without its hundred figures for GET /metrics."""
    return {name: value for name, value in info.items() if name != "metrics"}
