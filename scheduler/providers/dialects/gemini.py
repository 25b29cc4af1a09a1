"""The words of Gemini: nothing in headers; on a 429 the details of the body name the quotas that were hit.

`QuotaFailure.violations[].quotaId` holds what is counted and its period ("GenerateRequestsPerMinutePerProjectPerModel",
"GenerateContentInputTokensPerModelPerDay-FreeTier"), `quotaValue` the limit, `RetryInfo.retryDelay` the wait.
"""

from __future__ import annotations

from typing import Any

from scheduler.domain.capacity import Period
from scheduler.domain.rates import Dimension, ReportedLimit
from scheduler.providers.dialects.figures import duration_ms, figure
from scheduler.providers.error_bodies import error_in

_PERIODS = (
    ("PerMinute", Period.MINUTE),
    ("PerDay", Period.DAY),
    ("PerSecond", Period.SECOND),
    ("PerHour", Period.HOUR),
)


def limits_in(refusal: bytes) -> tuple[ReportedLimit, ...]:
    """The quotas that the body of a 429 (else empty) names as used up."""
    if b"quotaId" not in refusal:
        return ()
    details = error_in(refusal).get("details")
    if not isinstance(details, list):
        return ()
    entries = [each for each in details if isinstance(each, dict)]
    reset_ms = next((duration_ms(delay) for each in entries if isinstance(delay := each.get("retryDelay"), str)), None)
    violations = [v for each in entries if isinstance(each.get("violations"), list) for v in each["violations"]]
    return tuple(found for each in violations if (found := _limit_of(each, reset_ms)) is not None)


def _limit_of(violation: Any, reset_ms: int | None) -> ReportedLimit | None:
    if not isinstance(violation, dict) or not isinstance(quota := violation.get("quotaId"), str):
        return None
    period = next((period for words, period in _PERIODS if words in quota), None)
    if period is None:
        return None
    if "Token" not in quota:
        dimension = Dimension.REQUESTS
    elif "Input" in quota:
        dimension = Dimension.INPUT_TOKENS
    else:
        dimension = Dimension.OUTPUT_TOKENS if "Output" in quota else Dimension.TOKENS
    value = violation.get("quotaValue")
    return ReportedLimit(dimension, period, figure(str(value)), 0, reset_ms)
