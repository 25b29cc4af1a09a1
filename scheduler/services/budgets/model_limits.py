"""From what was learned of models to what the engine enforces and people see: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.setup import Connection, Resource
from scheduler.domain.work import BudgetDefinition
from scheduler.ports.learned import LearnedModel
from scheduler.providers.profile import Shape
from scheduler.providers.profiles import profile_of
from scheduler.services.budgets.limits import SLIDING, model_budget_id

FIRST_PLACES = 4
"""Calls at once that a provider without limits gets until its answers tell how many are worth it."""


def model_budgets(
    resources: Iterable[Resource], connections: Iterable[Connection], learned: Iterable[LearnedModel]
) -> Sequence[BudgetDefinition]:
    """The budgets of models as they were last known; where nothing limits calls, one even if nothing is known.

    Their version is the first: what the engine has learned since goes before it.
    """
    by_id = {each.connection_id: each for each in connections}
    known = {(each.connection_id, each.model): each for each in learned if each.connection_id in by_id}
    for resource in resources:
        for target in resource.targets:
            connection, key = by_id.get(target.connection_id), (target.connection_id, target.model)
            if connection is not None and key not in known and profile_of(connection).shape is Shape.NONE:
                known[key] = LearnedModel(*key, (), FIRST_PLACES)
    return [_budget(each, by_id) for each in known.values()]


def _budget(known: LearnedModel, connections: Mapping[UUID, Connection]) -> BudgetDefinition:
    profile = profile_of(connections[known.connection_id])
    return BudgetDefinition(
        budget_id=model_budget_id(known.connection_id, known.model),
        version=1,
        limits=tuple(
            replace(
                limit,
                pace=profile.pace if Period(limit.period) in SLIDING else None,
                burst_ms=profile.burst_ms,
                zone="" if Period(limit.period) in SLIDING else profile.quota_zone,
            )
            for limit in known.limits
        ),
        # Of another profile that the connection had, they would stay as they were for ever.
        max_in_flight=known.places if profile.shape is Shape.NONE else None,
    )


def discovered_capacity(learned: Iterable[LearnedModel]) -> tuple[Capacity, ...] | None:
    """The tightest limits a period that a connection's models were found to have; None when none were."""
    found: dict[Period, tuple[int | None, int | None]] = {}
    for each in learned:
        for limit in each.limits:
            requests, tokens = found.get(Period(limit.period), (None, None))
            found[Period(limit.period)] = (_least(requests, limit.requests), _least(tokens, limit.tokens))
    return tuple(Capacity(period, *found[period]) for period in Period if period in found) or None


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)
