"""What limits admit now, and how the whole stands: live readings for people and dashboards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from scheduler.domain.parking import Parking
from scheduler.domain.setup import Connection, Resource
from scheduler.domain.work import BudgetHeadroom, BudgetKind, LimitHeadroom, budget_id
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import model_budget_id, queue_ref
from scheduler.services.callers.tenants import Tenants
from scheduler.services.setup.views import ParkedView, parked_views
from scheduler.services.shards.access import Shards

ALIVE_WITHIN_S = 15.0
"""A process that gave no sign of life for this long counts as gone."""


class Amount(Struct, rename="camel", frozen=True):
    """One dimension of a limit; headroom: what it would admit now."""

    limit: int
    used: int
    headroom: int


class LimitView(Struct, rename="camel", frozen=True):
    """One period of a budget; a dimension without limit is null."""

    period: str
    requests: Amount | None
    tokens: Amount | None


class InFlight(Struct, rename="camel", frozen=True):
    """Calls in flight; limit null: none."""

    used: int
    limit: int | None


class Pause(Struct, rename="camel", frozen=True):
    """Why nothing passes, and for how many ms still."""

    remaining_ms: int
    reason: str


class BudgetView(Struct, rename="camel", frozen=True, kw_only=True):
    """One budget now. waiting: flows or queues parked on it."""

    budget: str
    limits: list[LimitView]
    in_flight: InFlight
    pause: Pause | None
    waiting: int


class ModelHeadroom(Struct, rename="camel", frozen=True, kw_only=True):
    """What was learned of a model on a connection; budget null: nothing that binds now."""

    model: str
    budget: BudgetView | None


class ConnectionHeadroom(Struct, rename="camel", frozen=True, kw_only=True):
    """A connection's budget; null until something was sent or set up on it. parked: why it is shut now. models: those
    of which answers told. oldest_waiting_at: when the oldest live batch on one of its resources was made."""

    connection_id: UUID
    name: str
    budget: BudgetView | None
    parked: list[ParkedView]
    models: list[ModelHeadroom]
    oldest_waiting_at: datetime | None


class ResourceHeadroom(Struct, rename="camel", frozen=True, kw_only=True):
    """A resource's own budget, if it has limits, and those of its targets in order. waiting: batches in its queue;
    oldest_waiting_at: when the oldest live one was made."""

    resource_id: UUID
    name: str
    budget: BudgetView | None
    targets: list[ConnectionHeadroom]
    waiting: int
    oldest_waiting_at: datetime | None


class ProcessView(Struct, rename="camel", frozen=True):
    """A live process."""

    holder: str
    kind: str
    beat_at: datetime
    info: dict[str, Any]


class QueueView(Struct, rename="camel", frozen=True):
    """A queue with flows that wait."""

    workspace_id: str
    environment_id: str
    resource_id: str
    waiting: int


class ParkedConnection(Struct, rename="camel", frozen=True, kw_only=True):
    """A connection that is shut."""

    workspace_id: UUID | None
    environment_id: UUID | None
    connection_id: UUID
    name: str
    parked: list[ParkedView]


class ShardView(Struct, rename="camel", frozen=True):
    """One shard's queues and leases."""

    shard: int
    active: int
    standby: int
    leases: int
    overdue_leases: int


class StatusView(Struct, rename="camel", frozen=True, kw_only=True):
    """How the whole stands."""

    workers: list[ProcessView]
    active: int
    standby: int
    leases: int
    shards: list[ShardView]
    queues: list[QueueView]
    parked: list[ParkedConnection]


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
            budget=_budget_view(budgets.get(own)),
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
                ProcessView(each["holder"], each["kind"], each["beat_at"], dict(each["info"]))
                for each in alive
                if each["kind"] == "worker"
            ],
            active=sum(each.active for each in shards),
            standby=sum(each.standby for each in shards),
            leases=sum(each.leases for each in shards),
            shards=shards,
            queues=queues,
            parked=_parked_connections(await self._store.parkings.parked(datetime.now(UTC))),
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
                budget=_budget_view(budgets.get(budget)),
                parked=parked_views(parkings, each.connection_id),
                models=[
                    ModelHeadroom(model=known.model, budget=_budget_view(budgets.get(name)))
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


def _parked_connections(parkings: Sequence[Parking]) -> list[ParkedConnection]:
    firsts = {each.connection_id: each for each in reversed(parkings)}
    return [
        ParkedConnection(
            workspace_id=each.workspace_id,
            environment_id=each.environment_id,
            connection_id=connection_id,
            name=each.connection_name,
            parked=parked_views(parkings, connection_id),
        )
        for connection_id, each in firsts.items()
    ]


def _budget_view(budget: BudgetHeadroom | None) -> BudgetView | None:
    if budget is None:
        return None
    return BudgetView(
        budget=budget.budget_id,
        limits=_limit_views(budget.limits),
        in_flight=InFlight(budget.in_flight, budget.max_in_flight),
        pause=Pause(budget.paused_ms, budget.pause_reason) if budget.paused_ms > 0 else None,
        waiting=budget.waiting,
    )


def _limit_views(limits: Iterable[LimitHeadroom]) -> list[LimitView]:
    return [
        LimitView(
            each.period,
            _amount(each.requests_limit, each.requests_used),
            _amount(each.tokens_limit, each.tokens_used),
        )
        for each in limits
    ]


def _amount(limit: int | None, used: int) -> Amount | None:
    return None if limit is None else Amount(limit, used, max(limit - used, 0))
