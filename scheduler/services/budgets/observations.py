"""From what answers said of limits to what the engine is told: pure."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from scheduler.domain.capacity import Period
from scheduler.domain.observation import CallsEnded, LimitUse, Observation
from scheduler.domain.rates import Dimension, RateReport, ReportedLimit
from scheduler.domain.work import BudgetKind, Limit, Meter, budget_id
from scheduler.providers.profile import Profile, Shape
from scheduler.services.budgets.limits import SLIDING, model_budget_id

_METERS = {
    Dimension.REQUESTS: None,
    Dimension.TOKENS: Meter.TOTAL,
    Dimension.INPUT_TOKENS: Meter.INPUT,
    Dimension.OUTPUT_TOKENS: Meter.OUTPUT,
}


def observation_of(
    connection_id: UUID,
    model: str,
    profile: Profile,
    report: RateReport | None,
    age_ms: int,
    calls: CallsEnded | None = None,
) -> Observation:
    """What the engine is told of one answer. age_ms: since the provider looked at its limits."""
    told = _tightest(report.limits) if report else ()
    return Observation(
        budget_id=model_budget_id(connection_id, model),
        connection_budget_id=budget_id(BudgetKind.CONNECTION, connection_id),
        limits=_limits(told, profile),
        uses=tuple(_uses(told)) if profile.remaining_is_live else (),
        age_ms=age_ms,
        refilled=profile.shape is Shape.BUCKET,
        calls=calls,
    )


def _tightest(limits: Iterable[ReportedLimit]) -> tuple[tuple[Period, ReportedLimit], ...]:
    """One a period, as far as that is known, and dimension: of several pools the one with the least left. A sum of
    tokens beside input and output apart only repeats whichever of them is tighter (Anthropic)."""
    found: dict[tuple[Period, Dimension], ReportedLimit] = {}
    for each in limits:
        if not each.limit or each.period is None:
            continue
        known = found.get((each.period, each.dimension))
        if known is None or _left(each) < _left(known):
            found[each.period, each.dimension] = each
    apart = any(dimension in (Dimension.INPUT_TOKENS, Dimension.OUTPUT_TOKENS) for _, dimension in found)
    return tuple(
        (period, each) for (period, dimension), each in found.items() if not (apart and dimension is Dimension.TOKENS)
    )


def _left(reported: ReportedLimit) -> int:
    limit = reported.limit or 0
    return limit if reported.remaining is None else min(limit, reported.remaining)


def _limits(told: Iterable[tuple[Period, ReportedLimit]], profile: Profile) -> tuple[Limit, ...]:
    """A limit of requests and one of the sum of tokens are one limit of their period; the others stand alone."""
    figures: dict[tuple[Period, Meter], tuple[int | None, int | None]] = {}
    for period, each in told:
        meter = _METERS[each.dimension]
        key = (period, meter or Meter.TOTAL)
        requests, tokens = figures.get(key, (None, None))
        figures[key] = (each.limit, tokens) if meter is None else (requests, each.limit)
    return tuple(
        Limit(
            period.value,
            requests,
            tokens,
            pace=profile.pace if period in SLIDING else None,
            burst_ms=profile.burst_ms,
            meter=meter,
            zone="" if period in SLIDING else profile.quota_zone,
        )
        for (period, meter), (requests, tokens) in sorted(figures.items())
    )


def _uses(told: Iterable[tuple[Period, ReportedLimit]]) -> Iterable[LimitUse]:
    """Only of limits that slide: what is left of a day does not tell when it was used."""
    for period, each in told:
        if period in SLIDING and each.limit and each.remaining is not None:
            yield LimitUse(
                period.value,
                _METERS[each.dimension],
                each.limit,
                max(0, each.limit - each.remaining),
                each.reset_ms,
                each.rounded_to,
            )
