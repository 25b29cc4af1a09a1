"""From what a person configured to what the engine enforces: pure translations of rows into definitions.

A connection always has a budget, also without limits: its pauses and calls in flight live there. So has a key: the
flows of its batches name it, and a limit that it gets later must hold for what waits already. Resources and batches
have one only when something of theirs is to be held; queues and flows name only budgets that exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from uuid import UUID

from scheduler.domain.batch import Batch
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.priority import weight_of
from scheduler.domain.setup import ApiKey, Connection, Resource
from scheduler.domain.work import (
    BudgetDefinition,
    BudgetKind,
    FlowDefinition,
    FlowRef,
    Limit,
    Meter,
    QueueDefinition,
    QueueRef,
    budget_id,
)
from scheduler.ports.flows import StoredFlow
from scheduler.providers.profile import Profile, TokenMeter
from scheduler.providers.profiles import profile_of
from scheduler.providers.profiles.generic import GENERIC

SLIDING = frozenset({Period.SECOND, Period.MINUTE})
"""Periods that slide and can be paced; the longer ones are quotas, which nothing paces."""


def connection_budget(connection: Connection) -> BudgetDefinition:
    """The budget that every call through a connection is charged to, paced as its profile says."""
    return BudgetDefinition(
        budget_id=budget_id(BudgetKind.CONNECTION, connection.connection_id),
        version=connection.version,
        limits=tuple(
            replace(limit, direct_share=connection.direct_share)
            for limit in _limits(connection.capacity, profile_of(connection))
        ),
        max_in_flight=connection.max_in_flight,
    )


def model_budget_id(connection_id: UUID, model: str) -> str:
    """The budget of what was learned of a model on a connection."""
    return budget_id(BudgetKind.MODEL, f"{connection_id}-{sha256(model.encode()).hexdigest()[:16]}")


def resource_budget(resource: Resource) -> BudgetDefinition | None:
    """The budget of a resource; None when it has no limit, or its capacities are not to be enforced."""
    capacities = resource.capacity if resource.enforce_capacity else ()
    return _optional(BudgetKind.RESOURCE, resource.resource_id, resource.version, capacities, resource.max_in_flight)


def key_budget(key: ApiKey) -> BudgetDefinition:
    """The budget of an API key, whoever calls with it."""
    limits = _limits((each for each in key.capacity if each.dimension is None), None)
    return BudgetDefinition(budget_id(BudgetKind.API_KEY, key.api_key_id), key.version, limits, key.max_in_flight)


def caller_account(key: ApiKey, caller: str | None) -> BudgetDefinition:
    """The account of a caller's address; without limits where the key does not count addresses (any more).

    Who is not known where addresses count (a batch that the admin made) shares one account with the others.
    """
    account = f"{key.api_key_id}-{sha256((caller or '').encode()).hexdigest()[:16]}"
    limits = _limits((each for each in key.capacity if each.dimension is not None), None)
    return BudgetDefinition(budget_id(BudgetKind.ADDRESS, account), key.version, limits)


def key_budgets(key: ApiKey, caller: str | None) -> tuple[BudgetDefinition, ...]:
    """All budgets that bind a caller with this key: the key's, and the account of the caller's address."""
    account = caller_account(key, caller)
    return (key_budget(key), account) if account.limits else (key_budget(key),)


def batch_budgets(batch: Batch, key: ApiKey | None) -> tuple[BudgetDefinition, ...]:
    """All budgets that bind every item of a batch."""
    own = batch_budget(batch)
    return (*((own,) if own else ()), *(key_budgets(key, batch.caller) if key else ()))


def batch_budget(batch: Batch) -> BudgetDefinition | None:
    """The budget of a batch; None when it has no limit of its own."""
    return _optional(BudgetKind.BATCH, batch.batch_id, batch.version, batch.capacity, batch.max_in_flight)


def queue_ref(workspace_id: UUID, environment_id: UUID, resource_id: UUID) -> QueueRef:
    """The queue of a resource, as the engine names it."""
    return QueueRef(str(workspace_id), str(environment_id), str(resource_id))


def flow_ref(flow: StoredFlow) -> FlowRef:
    """The engine's name of a stored flow."""
    return FlowRef(queue_ref(flow.workspace_id, flow.environment_id, flow.resource_id), str(flow.batch_id))


def queue_definition(resource: Resource) -> QueueDefinition:
    """The queue of a resource: connection budgets of its targets in order, its own budget, its weight."""
    own = resource_budget(resource)
    return QueueDefinition(
        queue=queue_ref(resource.workspace_id, resource.environment_id, resource.resource_id),
        version=resource.version,
        targets=tuple(budget_id(BudgetKind.CONNECTION, target.connection_id) for target in resource.targets),
        budgets=(own.budget_id,) if own else (),
        weight=weight_of(resource.priority),
        spill=resource.spill,
        models=tuple(model_budget_id(target.connection_id, target.model) for target in resource.targets),
    )


def flow_definition(batch: Batch, flow: StoredFlow, key: ApiKey | None = None) -> FlowDefinition:
    """The flow of a batch on one resource, bound by the budgets of the batch and of the key that made it."""
    return FlowDefinition(
        flow=flow_ref(flow),
        version=batch.version,
        weight=batch.weight,
        budgets=tuple(budget.budget_id for budget in batch_budgets(batch, key)),
        end=flow.last,
        sealed=batch.sealed,
        paused=batch.paused,
    )


def _optional(
    kind: BudgetKind, owner: object, version: int, capacities: Iterable[Capacity], max_in_flight: int | None
) -> BudgetDefinition | None:
    limits = _limits(capacities, None)
    if not limits and max_in_flight is None:
        return None
    return BudgetDefinition(budget_id(kind, owner), version, limits, max_in_flight)


def _limits(capacities: Iterable[Capacity], paced_by: Profile | None) -> tuple[Limit, ...]:
    """One limit a period, in order of the periods; the lowest figures where a period is given twice."""
    by_period: dict[Period, list[Capacity]] = {}
    for capacity in capacities:
        if capacity.enabled and (capacity.requests is not None or capacity.tokens is not None):
            by_period.setdefault(capacity.period, []).append(capacity)
    return tuple(_limit(period, by_period[period], paced_by) for period in Period if period in by_period)


def _limit(period: Period, capacities: list[Capacity], paced_by: Profile | None) -> Limit:
    profile = paced_by or GENERIC
    bursts = [c.burst_seconds for c in capacities if c.burst_seconds is not None]
    return Limit(
        period=period.value,
        requests=min((c.requests for c in capacities if c.requests is not None), default=None),
        tokens=min((c.tokens for c in capacities if c.tokens is not None), default=None),
        pace=profile.pace if paced_by and period in SLIDING else None,
        burst_ms=round(min(bursts) * 1000) if bursts else profile.burst_ms,
        meter=Meter.INPUT if paced_by and profile.token_meter is TokenMeter.INPUT else Meter.TOTAL,
        zone="" if period in SLIDING else profile.quota_zone,
    )
