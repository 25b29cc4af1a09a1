"""From standings and forecasts to what callers are told: no I/O, time is an argument."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from scheduler.domain.batch import Batch, Item
from scheduler.domain.forecast import Bound, Forecast
from scheduler.domain.standing import Place, Standing
from scheduler.domain.status import FINAL_ITEM
from scheduler.domain.supply import NEVER
from scheduler.ports.flows import StoredFlow
from scheduler.services.explain.budget_names import BudgetNames
from scheduler.services.explain.views import LimitHold, ResourceExplanation, State


@dataclass(frozen=True, slots=True)
class Part:
    """A flow as it stands; next / last: the forecasts of its next and its last waiting entry."""

    flow: StoredFlow
    standing: Standing | None
    next: Forecast | None
    last: Forecast | None


def share_of(flow: StoredFlow) -> float:
    """Part of the positions between its first and last that are this flow's own."""
    return flow.items / max(flow.last - flow.first + 1, 1)


def state_of(item: Item, standing: Standing | None) -> State:
    """Where an item stands, as people read it. standing: None where the engine does not know its flow."""
    if item.status in FINAL_ITEM:
        return "finished"
    if standing is None:
        return "opening"
    match standing.place:
        case Place.WAITING:
            return "waiting"
        case Place.DEFERRED:
            return "deferred"
        case Place.RUNNING:
            return "running"
        case Place.ABSENT:
            return "opening"
        case _:
            assert_never(standing.place)


def moment_of(now: datetime, span_ms: float | None) -> datetime | None:
    """A time from now; None when it is beyond what a calendar holds."""
    if span_ms is None or math.isinf(span_ms):
        return None
    try:
        return now + timedelta(milliseconds=span_ms)
    except OverflowError:
        return None


def item_end(start: datetime, found: Forecast | None, run_ms: float | None) -> datetime | None:
    """When an item ends that starts then, if its calls last as the last ones did; None when it cannot be told."""
    if found is None or found.start_ms is None:
        return None
    return start + timedelta(milliseconds=run_ms or 0.0)


def _ends_in_ms(part: Part, run_ms: float | None) -> float | None:
    """None when it cannot be told; a part of which nothing is left has ended."""
    if part.standing is None or part.last is None:
        return None
    if part.standing.own.left.requests < 1 and not part.standing.leased:
        return 0.0
    return None if part.last.start_ms is None else part.last.start_ms + (run_ms or 0.0)


def batch_end(parts: Sequence[Part], now: datetime, run_ms: float | None) -> datetime | None:
    """When the last part ends; None when that cannot be told of each."""
    ends = [_ends_in_ms(part, run_ms) for part in parts]
    known = [end for end in ends if end is not None]
    return moment_of(now, max(known)) if known and len(known) == len(ends) else None


def latest_part(parts: Sequence[Part]) -> Part | None:
    """The part that ends last; one that never does by itself before all."""
    seen = [part for part in parts if part.last is not None]
    return max(
        seen,
        key=lambda part: NEVER if part.last is None or part.last.start_ms is None else part.last.start_ms,
        default=None,
    )


def meets_deadline(batch: Batch, end: datetime | None) -> bool | None:
    """Whether it ends by then; None without a deadline, or when the end cannot be told."""
    if batch.deadline is None or end is None:
        return None
    return end <= batch.deadline


def part_explanation(part: Part, names: BudgetNames, now: datetime, run_ms: float | None) -> ResourceExplanation:
    """What a part of a batch shows."""
    standing, first, last = part.standing, part.next, part.last
    waits = standing is not None and standing.own.left.requests >= 1
    hold = hold_of(last.binding, names, now) if waits and last and last.binding else None
    return ResourceExplanation(
        resource_id=part.flow.resource_id,
        resource=names.resource(part.flow.resource_id),
        waiting=round(standing.own.left.requests) if standing else 0,
        deferred=standing.deferred if standing else 0,
        running=standing.leased if standing else 0,
        binding_limit=hold,
        requests_ahead=round(first.first.requests) if first else 0,
        earliest_start=moment_of(now, first.start_ms) if waits and first else None,
        expected_end=moment_of(now, _ends_in_ms(part, run_ms)),
    )


def is_limit(bound: Bound) -> bool:
    """Whether it limits anything now: a budget may be there for the limits that it could get."""
    account = bound.account
    if account is None or not account.known:
        return True
    return bool(account.gauges) or account.max_in_flight is not None or account.paused_ms > 0 or account.recovering


def hold_of(bound: Bound, names: BudgetNames, now: datetime) -> LimitHold:
    """A limit as callers see it, by the name of what it belongs to."""
    account, gauge = bound.account, bound.admission.gauge if bound.admission else None
    owner = names.owner(account.budget_id) if account else names.item if bound.is_retry else names.batch
    counted = gauge if gauge is not None and gauge.dimension.value == bound.binding.value else None
    in_flight = account.max_in_flight if account and bound.binding.value == "in-flight" else None
    return LimitHold(
        scope=owner.scope,
        id=owner.id,
        name=owner.name,
        dimension=bound.binding.value,
        period=counted.period if counted else None,
        limit=counted.limit if counted else in_flight,
        used=round(counted.used) if counted else account.in_flight if account and in_flight is not None else None,
        reason=account.pause_reason or None if account and account.paused_ms > 0 else None,
        admits_at=moment_of(now, bound.at_ms),
    )
