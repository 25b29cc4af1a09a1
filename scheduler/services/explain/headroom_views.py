"""What limits admit and how the whole stands, as callers see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from scheduler.domain.parking import Parking
from scheduler.domain.work import BudgetHeadroom, LimitHeadroom
from scheduler.services.setup.views import ParkedView, parked_views


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


def parked_connections(parkings: Sequence[Parking]) -> list[ParkedConnection]:
    """Each connection that is shut, with all that shuts it, in the order of the parkings."""
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


def budget_view(budget: BudgetHeadroom | None) -> BudgetView | None:
    """A budget as it stands; None for one that the engine does not know."""
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
