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
    entries = _details_of(refusal)
    reset_ms = next((duration_ms(delay) for each in entries if isinstance(delay := each.get("retryDelay"), str)), None)
    return tuple(found for each in _violations_of(entries) if (found := _limit_of(each, reset_ms)) is not None)


def is_of_one_model(refusal: bytes) -> bool:
    """Whether every quota that the body of a 429 names counts one model only."""
    quotas = [str(each.get("quotaId")) for each in _violations_of(_details_of(refusal)) if isinstance(each, dict)]
    return bool(quotas) and all("PerModel" in quota for quota in quotas)


def _details_of(refusal: bytes) -> list[dict[str, Any]]:
    details = error_in(refusal).get("details") if b"quotaId" in refusal else None
    return [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []


def _violations_of(entries: list[dict[str, Any]]) -> list[Any]:
    return [v for each in entries if isinstance(each.get("violations"), list) for v in each["violations"]]


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
