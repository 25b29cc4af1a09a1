"""The words of Anthropic: `anthropic-ratelimit-NAME-{limit,remaining,reset}`, resets as RFC 3339 times, tokens rounded
to 1,000."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from scheduler.domain.capacity import Period
from scheduler.domain.rates import Dimension, ReportedLimit
from scheduler.providers.dialects.figures import ceil, figure

ROUNDED_TO = 1_000


def limits_in(headers: Mapping[str, str], now_s: float) -> tuple[ReportedLimit, ...]:
    """The limits that headers report. now_s: Unix time of the answer."""
    found = []
    for dimension in Dimension:
        start = f"anthropic-ratelimit-{dimension.value}-"
        limit = figure(headers.get(start + "limit"))
        remaining = figure(headers.get(start + "remaining"))
        if limit is None and remaining is None:
            continue
        rounded_to = 1 if dimension is Dimension.REQUESTS else ROUNDED_TO
        reset_ms = _until_ms(headers.get(start + "reset"), now_s)
        found.append(ReportedLimit(dimension, Period.MINUTE, limit, remaining, reset_ms, rounded_to))
    return tuple(found)


def _until_ms(time: str | None, now_s: float) -> int | None:
    if not time:
        return None
    try:
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, ceil((moment.timestamp() - now_s) * 1_000))
    except (ValueError, OverflowError):
        return None
