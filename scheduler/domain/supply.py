"""When a budget has admitted a given amount, if work waits for it all the time: pure.

It follows the rules of the engine's budgets: a sliding window gives an amount back one period (and its guard) after it
was used; a pace admits at a steady rate after a burst; a quota starts again at the end of its period; calls in flight
free their places one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from scheduler.domain.standing import Account, Gauge, Load

GUARD_MS = 500.0
"""A window gives back at the second sub-bucket of 250 ms after its period."""
PERIODS_MS = {
    "HOUR": 3_600_000.0,
    "DAY": 86_400_000.0,
    "WEEK": 7 * 86_400_000.0,
    "MONTH": 30.44 * 86_400_000.0,
}
NEVER = math.inf


class Binding(StrEnum):
    """What kind of limit holds work back."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input-tokens"
    OUTPUT_TOKENS = "output-tokens"
    IN_FLIGHT = "in-flight"
    PAUSE = "pause"
    """The budget is paused: the provider refused, could not be reached, or parked the connection."""
    UNDEFINED = "undefined"
    """The budget is not known to the engine yet."""
    BATCH_PAUSED = "batch-paused"
    RETRY = "retry"
    """The entry itself waits for the time of its next attempt."""


@dataclass(frozen=True, slots=True)
class Admission:
    """When an amount is through a budget, and the limit of it that is the last to let it through.

    at_ms: NEVER when it never is. gauge: for the four dimensions. at_ms 0: nothing holds it back.
    """

    at_ms: float
    binding: Binding
    gauge: Gauge | None = None


def admission(account: Account, load: Load, cost: Load, run_ms: float | None) -> Admission:
    """When `load`, of which `cost` is the last piece, is through. run_ms: how long calls take, None: not known, then
    calls in flight free no place in a time that could be told."""
    if not account.known:
        return Admission(NEVER, Binding.UNDEFINED)
    start_ms = account.paused_ms
    latest = Admission(start_ms, Binding.PAUSE)
    if account.recovering and load.requests > 1:
        latest = Admission(start_ms + (run_ms or 0.0), Binding.PAUSE)
    for gauge in account.gauges:
        shifted = _after(gauge, start_ms)
        at_ms = start_ms + _gauge_ms(shifted, load.of(gauge.dimension), cost.of(gauge.dimension))
        if at_ms > latest.at_ms:
            latest = Admission(at_ms, Binding(gauge.dimension.value), gauge)
    if account.max_in_flight is not None:
        at_ms = start_ms + _places_ms(account, load.requests, run_ms)
        if at_ms > latest.at_ms:
            latest = Admission(at_ms, Binding.IN_FLIGHT)
    return latest


Target = Sequence[tuple[Account, Load]]
"""Accounts that must all admit what goes to one target, each with all that wants to pass it."""


def admission_by_many(targets: Sequence[Target], cost: Load, run_ms: float | None) -> tuple[Admission, Account]:
    """When all is through, if each target takes a share of it as it can; with the account that holds it back most where
    the last piece goes. Expects at least one target."""
    alone = [_slowest(target, 1.0, cost, run_ms) for target in targets]
    best = min(alone, key=lambda found: found[0].at_ms)
    most = max(load.requests for target in targets for _, load in target)
    if len(targets) == 1 or best[0].at_ms <= 0 or most <= 1:
        return best
    high = best[0].at_ms
    if high == NEVER:
        return best
    low = 0.0
    for _ in range(40):
        middle = (low + high) / 2
        if sum(_share_by(target, cost, run_ms, middle) for target in targets) >= 1.0:
            high = middle
        else:
            low = middle
    return replace(best[0], at_ms=high), best[1]


def _slowest(target: Target, share: float, cost: Load, run_ms: float | None) -> tuple[Admission, Account]:
    found = [(admission(account, load.times(share), cost, run_ms), account) for account, load in target]
    return max(found, key=lambda one: one[0].at_ms)


def _share_by(target: Target, cost: Load, run_ms: float | None, at_ms: float) -> float:
    """The share of all that a target has let through at a time, by bisection."""
    if _slowest(target, 1.0, cost, run_ms)[0].at_ms <= at_ms:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        if _slowest(target, middle, cost, run_ms)[0].at_ms <= at_ms:
            low = middle
        else:
            high = middle
    return low


def _gauge_ms(gauge: Gauge, amount: float, cost: float) -> float:
    if amount <= 0:
        return 0.0
    if cost > gauge.limit:
        return NEVER
    if not gauge.window_ms:
        return _quota_ms(gauge, amount)
    at_ms = _window_ms(gauge, amount)
    if gauge.pace is not None:
        unit_ms = gauge.window_ms / (gauge.pace * gauge.limit)
        paced_ms = max(gauge.behind_ms, 0.0) + (amount - cost) * unit_ms - gauge.burst_ms
        at_ms = max(at_ms, paced_ms)
    return max(at_ms, 0.0)


def _window_ms(gauge: Gauge, amount: float) -> float:
    """What was used comes back in the order of its use, and then again one period later, and so on."""
    cycles = max(math.ceil(amount / gauge.limit - 1e-9) - 1, 0)
    rest = amount - cycles * gauge.limit
    cycle_ms = gauge.window_ms + GUARD_MS
    free = gauge.limit - gauge.used
    if rest <= free:
        return cycles * cycle_ms
    for slides_ms, slid in gauge.slides:
        free += slid
        if rest <= free + 1e-9:
            return cycles * cycle_ms + slides_ms
    return (cycles + 1) * cycle_ms


def _quota_ms(gauge: Gauge, amount: float) -> float:
    free = max(gauge.limit - gauge.used, 0.0)
    if amount <= free:
        return 0.0
    if gauge.ends_ms is None:
        return NEVER
    further = math.ceil((amount - free) / gauge.limit - 1e-9) - 1
    return gauge.ends_ms + further * PERIODS_MS[gauge.period]


def _places_ms(account: Account, requests: float, run_ms: float | None) -> float:
    places = account.max_in_flight or 0
    free = places - account.in_flight
    if requests <= free:
        return 0.0
    if run_ms is None or places <= 0:
        return NEVER
    return (requests - max(free, 0)) * run_ms / places


def _after(gauge: Gauge, span_ms: float) -> Gauge:
    """The gauge after a rest."""
    if span_ms <= 0:
        return gauge
    if not gauge.window_ms:
        over = gauge.ends_ms is not None and gauge.ends_ms <= span_ms
        if not over:
            ends_ms = None if gauge.ends_ms is None else gauge.ends_ms - span_ms
            return replace(gauge, ends_ms=ends_ms)
        length_ms = PERIODS_MS[gauge.period]
        ends_ms = length_ms - (span_ms - (gauge.ends_ms or 0.0)) % length_ms
        return replace(gauge, used=0.0, ends_ms=ends_ms)
    gone = sum(slid for slides_ms, slid in gauge.slides if slides_ms <= span_ms)
    return replace(
        gauge,
        used=gauge.used - gone,
        behind_ms=gauge.behind_ms - span_ms,
        slides=tuple((slides_ms - span_ms, slid) for slides_ms, slid in gauge.slides if slides_ms > span_ms),
    )
