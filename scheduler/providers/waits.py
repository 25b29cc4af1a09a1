"""How long a provider asks us to wait: every form we know, the most trusted first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from scheduler.domain.rates import RateReport
from scheduler.providers.dialects.figures import DURATION, ceil, duration_ms, number_ms

LONGEST_MS = 24 * 3600 * 1000
"""No answer makes us wait longer than a day; what says more is asked again tomorrow."""

_AGAIN = re.compile(rf"(?:try again|retry)\s+(?:in|after)\s+({DURATION})", re.IGNORECASE)
_AGAIN_WORDS = re.compile(
    r"(?:try again|retry)\s+(?:in|after)\s+(\d+(?:\.\d+)?)\s+(millisecond|second|minute|hour)s?", re.IGNORECASE
)
_WORD_MS = {"millisecond": 1, "second": 1_000, "minute": 60_000, "hour": 3_600_000}
_RETRY_DELAY = re.compile(r'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"')


def wait_ms(headers: Mapping[str, str], text: str, now_s: float, rates: RateReport | None = None) -> int | None:
    """The wait that an answer asks for, in ms; None when it says nothing usable.

    Trusted in this order: retry-after-ms, retry-after (seconds or a date), a hint in the text ("try again in 9.816s",
    "retry after 9 seconds", Gemini's retryDelay), the reset of the limit that is used up. `headers` have lower-case
    names; now_s: Unix time.
    """
    for found in (said_ms(headers, now_s), _hint_ms(text), _reset_ms(rates) if rates else None):
        if found is not None and found > 0:
            return min(found, LONGEST_MS)
    return None


def said_ms(headers: Mapping[str, str], now_s: float) -> int | None:
    """What retry-after-ms or else retry-after says, in ms; None when neither says anything usable."""
    return number_ms(headers.get("retry-after-ms"), 1) or _retry_after_ms(headers.get("retry-after"), now_s)


def _retry_after_ms(value: str | None, now_s: float) -> int | None:
    if value is None:
        return None
    seconds = number_ms(value, 1_000)
    if seconds is not None:
        return seconds
    try:
        return ceil((parsedate_to_datetime(value).timestamp() - now_s) * 1_000)
    except (ValueError, TypeError, OverflowError):
        return None


def _hint_ms(text: str) -> int | None:
    if found := _AGAIN.search(text):
        return duration_ms(found.group(1))
    if found := _AGAIN_WORDS.search(text):
        return number_ms(found.group(1), _WORD_MS[found.group(2).lower()])
    if found := _RETRY_DELAY.search(text):
        return number_ms(found.group(1), 1_000)
    return None


def _reset_ms(rates: RateReport) -> int | None:
    """The longest reset among limits that are used up; else the shortest one named."""
    used_up = [each.reset_ms for each in rates.used_up if each.reset_ms is not None]
    named = [each.reset_ms for each in rates.limits if each.reset_ms is not None]
    return max(used_up) if used_up else min(named, default=None)
