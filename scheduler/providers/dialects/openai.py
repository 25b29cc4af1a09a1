"""The words of OpenAI, which Groq, Cerebras, vLLM's front ends and most others use too.

Headers `x-ratelimit-{limit,remaining,reset}-NAME`, where NAME is requests or tokens, of a pool (`project-tokens`), of
one direction (`input-tokens`), or with its period (`tokens-minute`). On a 429 the body repeats the limit that was hit:
"… on tokens per min (TPM): Limit 10000, Used 9990, Requested 20. Please try again in 60ms."
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from scheduler.domain.capacity import Period
from scheduler.domain.rates import Dimension, ReportedLimit
from scheduler.providers.dialects.figures import duration_ms, figure

_PREFIX = "x-ratelimit-limit-"
_DIMENSIONS = {
    "requests": (Dimension.REQUESTS, ""),
    "tokens": (Dimension.TOKENS, ""),
    "input-tokens": (Dimension.INPUT_TOKENS, ""),
    "output-tokens": (Dimension.OUTPUT_TOKENS, ""),
    "project-requests": (Dimension.REQUESTS, "project"),
    "project-tokens": (Dimension.TOKENS, "project"),
}
_PERIODS = {"second": Period.SECOND, "minute": Period.MINUTE, "hour": Period.HOUR, "day": Period.DAY}
_MINUTE_MS = 60_000
_TOO_SLOW_MS = 20 * _MINUTE_MS
"""A limit that would take longer than this to fill from nothing is no limit per minute."""
_ROUNDING_MS = 2_000
"""Resets below this may be rounded up so much that nothing can be concluded from them."""
_HIT = re.compile(
    r"on (requests|(?:input |output )?tokens) per (min|minute|hour|day)\b.{0,40}?"
    r"Limit:? (\d+), Used:? (\d+)",
    re.IGNORECASE,
)
_WORDS = {"min": Period.MINUTE, "minute": Period.MINUTE, "hour": Period.HOUR, "day": Period.DAY}


def limits_in(
    headers: Mapping[str, str], refusal: bytes, *, requests_by_day: bool = False, refilled_continuously: bool = False
) -> tuple[ReportedLimit, ...]:
    """The limits that headers and the body of a 429 (else empty) report.

    requests_by_day: plain `requests` counts a day (Groq). refilled_continuously: a reset is the time until the limit is
    full again (OpenAI), so that limit, remaining and reset tell the period together.
    """
    found = [
        limit
        for name in headers
        if name.startswith(_PREFIX)
        and (limit := _named(name.removeprefix(_PREFIX), headers, requests_by_day, refilled_continuously))
    ]
    hit = _limit_hit(refusal) if refusal else None
    if hit is not None and all((each.dimension, each.period) != (hit.dimension, hit.period) for each in found):
        found.append(hit)
    return tuple(found)


def _named(name: str, headers: Mapping[str, str], by_day: bool, continuous: bool) -> ReportedLimit | None:
    known = _DIMENSIONS.get(name)
    period: Period | None = None
    if known is None:
        base, _, last = name.rpartition("-")
        known, period = _DIMENSIONS.get(base), _PERIODS.get(last)
        if known is None or period is None:
            return None
    dimension, pool = known
    limit = figure(headers[_PREFIX + name])
    remaining = figure(headers.get(f"x-ratelimit-remaining-{name}"))
    reset_ms = duration_ms(headers.get(f"x-ratelimit-reset-{name}", ""))
    if not limit:  # 0 or no number: proxies in front of a provider say so when they do not know
        return None
    if period is None:
        if by_day and dimension is Dimension.REQUESTS:
            period = Period.DAY
        else:
            period = _period_of(limit, remaining, reset_ms, continuous)
    return ReportedLimit(dimension, period, limit, remaining, reset_ms, pool=pool)


def _period_of(limit: int, remaining: int | None, reset_ms: int | None, continuous: bool) -> Period:
    """A minute, unless the reset shows that it cannot be one: small accounts have limits per day."""
    if reset_ms is None:
        return Period.MINUTE
    if reset_ms > _MINUTE_MS:
        return Period.DAY
    used = limit - remaining if remaining is not None else 0
    if continuous and used > 0 and reset_ms >= _ROUNDING_MS and reset_ms * limit > used * _TOO_SLOW_MS:
        return Period.DAY
    return Period.MINUTE


def _limit_hit(refusal: bytes) -> ReportedLimit | None:
    match = _HIT.search(refusal[:8_000].decode(errors="replace"))
    if match is None:
        return None
    unit, period, limit, used = match.groups()
    dimension = Dimension(unit.lower().replace(" ", "-"))
    left = max(0, int(limit) - int(used))
    return ReportedLimit(dimension, _WORDS[period.lower()], int(limit), left, None)
