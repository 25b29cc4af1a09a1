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
_LATE_MINUTE_MS = 90_000
"""A minute whose reset is rounded up generously, or that somebody was let overdraw."""
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS
_ABOUT = 0.1
"""How far a refill of a day may be off by rounding, as a share."""
_HIT = re.compile(
    r"on (requests|(?:input |output )?tokens) per (min|minute|hour|day)\b.{0,40}?"
    r"Limit:? (\d+), Used:? (\d+)",
    re.IGNORECASE,
)
_WORDS = {"min": Period.MINUTE, "minute": Period.MINUTE, "hour": Period.HOUR, "day": Period.DAY}


def limits_in(
    headers: Mapping[str, str], refusal: bytes, *, requests_by_day: bool = False
) -> tuple[ReportedLimit, ...]:
    """The limits that headers and the body of a 429 (else empty) report.

    requests_by_day: plain `requests` counts a day (Groq).
    """
    found = [
        limit
        for name in headers
        if name.startswith(_PREFIX) and (limit := _named(name.removeprefix(_PREFIX), headers, requests_by_day))
    ]
    hit = _limit_hit(refusal) if refusal else None
    if hit is not None and all((each.dimension, each.period) != (hit.dimension, hit.period) for each in found):
        found.append(hit)
    return tuple(found)


def _named(name: str, headers: Mapping[str, str], by_day: bool) -> ReportedLimit | None:
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
        by_the_day = by_day and dimension is Dimension.REQUESTS
        period = Period.DAY if by_the_day else _period_of(limit, remaining, reset_ms)
    return ReportedLimit(dimension, period, limit, remaining, reset_ms, pool=pool)


def _period_of(limit: int, remaining: int | None, reset_ms: int | None) -> Period | None:
    """A minute, unless the reset shows that it cannot be one: small accounts have limits per day.

    Resets within a minute prove nothing, whatever limit and remaining: a limit of a day that is hardly used says
    8.64 s, and so does a minute that began 51 s ago where resets are the ends of minutes. Taken for a minute's, a
    limit of a day binds nothing that it does not bind anyway; a minute's taken for a day's would stop the account.
    """
    if reset_ms is None or reset_ms <= _MINUTE_MS:
        return Period.MINUTE
    used = limit - remaining if remaining is not None else 0
    refilled_in_a_day = used > 0 and abs(reset_ms * limit / used - _DAY_MS) <= _ABOUT * _DAY_MS
    if refilled_in_a_day or reset_ms > _HOUR_MS:
        return Period.DAY
    return Period.MINUTE if reset_ms <= _LATE_MINUTE_MS else None


def _limit_hit(refusal: bytes) -> ReportedLimit | None:
    match = _HIT.search(refusal[:8_000].decode(errors="replace"))
    if match is None:
        return None
    unit, period, limit, used = match.groups()
    dimension = Dimension(unit.lower().replace(" ", "-"))
    left = max(0, int(limit) - int(used))
    return ReportedLimit(dimension, _WORDS[period.lower()], int(limit), left, None)
