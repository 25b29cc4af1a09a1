"""How long a provider asks us to wait: every form we know, the most trusted first (providers.md,
"Headers")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST_MS = 24 * 3600 * 1000
"""No answer makes us wait longer than a day; what says more is asked again tomorrow."""

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(r"^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$")
_TRY_AGAIN = re.compile(r"try again in ((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)", re.IGNORECASE)
_RETRY_DELAY = re.compile(r'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"')
_RESETS = ("requests", "tokens")


def wait_ms(headers: Mapping[str, str], text: str, now_s: float) -> int | None:
    """The wait that an answer asks for, in ms; None when it says nothing usable.

    Trusted in this order: retry-after-ms, retry-after (seconds or a date), a hint in the body ("try again
    in 9.816s", Gemini's retryDelay), the reset of the limit that is used up. `headers` have lower-case
    names; now_s: Unix time.
    """
    for found in (
        _number_ms(headers.get("retry-after-ms"), 1),
        _retry_after_ms(headers.get("retry-after"), now_s),
        _hint_ms(text),
        _reset_ms(headers),
    ):
        if found is not None and found > 0:
            return min(found, LONGEST_MS)
    return None


def duration_ms(text: str) -> int | None:
    """ "6m0s", "17ms", "1.5s" or plain seconds ("0.8") in ms, rounded up; None for anything else."""
    text = text.strip()
    if _DURATION.match(text):
        return _ceil(sum(float(number) * _UNIT_MS[unit] for number, unit in _PART.findall(text)))
    return _number_ms(text, 1_000)


def _retry_after_ms(value: str | None, now_s: float) -> int | None:
    if value is None:
        return None
    seconds = _number_ms(value, 1_000)
    if seconds is not None:
        return seconds
    try:
        return _ceil((parsedate_to_datetime(value).timestamp() - now_s) * 1_000)
    except (ValueError, TypeError, OverflowError):
        return None


def _hint_ms(text: str) -> int | None:
    if found := _TRY_AGAIN.search(text):
        return duration_ms(found.group(1))
    if found := _RETRY_DELAY.search(text):
        return _number_ms(found.group(1), 1_000)
    return None


def _reset_ms(headers: Mapping[str, str]) -> int | None:
    """The longest reset among limits that are used up; else the shortest one named."""
    used_up: list[int] = []
    named: list[int] = []
    for kind in _RESETS:
        reset = headers.get(f"x-ratelimit-reset-{kind}")
        wait = duration_ms(reset) if reset else None
        if wait is None:
            continue
        named.append(wait)
        if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0":
            used_up.append(wait)
    return max(used_up) if used_up else min(named, default=None)


def _number_ms(value: str | None, factor: int) -> int | None:
    """A plain number times `factor`; None when it is none, negative, or not finite."""
    try:
        number = float(value or "") * factor
    except ValueError:
        return None
    return _ceil(number) if 0 <= number < float("inf") else None


def _ceil(number: float) -> int:
    return -int(-number // 1)
