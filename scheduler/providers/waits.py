"""How long a provider asks us to wait: every form we know, the most trusted first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from scheduler.domain.rates import RateReport
from scheduler.providers.dialects.figures import ceil, duration_ms, number_ms, whole_ms

LONGEST_MS = 24 * 3600 * 1000
"""No answer makes us wait longer than a day; what says more is asked again tomorrow."""

_SPAN = re.compile(
    r"(\d+(?:\.\d+)?)\s*(ms|millisecond|s|sec|second|m|min|minute|h|hour|d|day)s?(?![a-z])", re.IGNORECASE
)
_AGAIN = re.compile(
    rf"(?:try again|retry)\s+(?:in|after)\s+(?:about\s+)?((?:{_SPAN.pattern}[\s,]*(?:and\s+)?)+)", re.IGNORECASE
)
_SPAN_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RETRY_DELAY = re.compile(r'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"')
_RETRY_AFTER = re.compile(r'"retry[_-]?after(_?ms)?(?:_?s(?:econds)?)?"\s*:\s*"?(\d+(?:\.\d+)?)\s*[",}]', re.IGNORECASE)


def wait_ms(
    headers: Mapping[str, str], text: str, now_s: float, rates: RateReport | None = None, *, body: str = ""
) -> int | None:
    """The wait that an answer asks for, in ms; None when it says nothing usable.

    Trusted in this order: retry-after-ms, retry-after (seconds, "1m2.5s" or a date), a hint in the text ("try again
    in 9.816s", "retry after 9 seconds"), one elsewhere in the body (Gemini's retryDelay, a field retry_after), the
    reset of the limit that is used up. `headers` have lower-case names; now_s: Unix time.
    """
    for found in (said_ms(headers, now_s), _hint_ms(text), _hint_ms(body), _reset_ms(rates) if rates else None):
        if found is not None and found > 0:
            return min(found, LONGEST_MS)
    return None


def said_ms(headers: Mapping[str, str], now_s: float) -> int | None:
    """What retry-after-ms or else retry-after says, in ms; None when neither says anything usable."""
    return number_ms(headers.get("retry-after-ms"), 1) or _retry_after_ms(headers.get("retry-after"), now_s)


def _retry_after_ms(value: str | None, now_s: float) -> int | None:
    if value is None:
        return None
    span_ms = duration_ms(value)
    if span_ms is not None:
        return span_ms
    try:
        date = parsedate_to_datetime(value)
        # Dates of HTTP are of UTC whether they say so or not (RFC 9110, 5.6.7), never of this machine's zone.
        moment = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        return ceil((moment.timestamp() - now_s) * 1_000)
    except (ValueError, TypeError, OverflowError):
        return None


def _hint_ms(text: str) -> int | None:
    if found := _AGAIN.search(text):
        return whole_ms(sum(float(number) * _unit_ms(unit) for number, unit in _SPAN.findall(found.group(1))))
    if found := _RETRY_DELAY.search(text):
        return number_ms(found.group(1), 1_000)
    if found := _RETRY_AFTER.search(text):
        return number_ms(found.group(2), 1 if found.group(1) else 1_000)
    return None


def _unit_ms(unit: str) -> int:
    name = unit.lower()
    return 1 if name in ("ms", "millisecond") else _SPAN_MS[name[0]]


def _reset_ms(rates: RateReport) -> int | None:
    """The longest reset among limits that are used up; else the shortest one named."""
    used_up = [each.reset_ms for each in rates.used_up if each.reset_ms is not None]
    named = [each.reset_ms for each in rates.limits if each.reset_ms is not None]
    return max(used_up) if used_up else min(named, default=None)
