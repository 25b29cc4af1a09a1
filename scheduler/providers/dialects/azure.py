"""The words of Azure OpenAI: OpenAI's, with gaps.

Figures may be missing, -1 or 0 (all: not known). Its requests header counts the slice of 1 or 10 s that its limiter
looks at, not the minute (a deployment of 120 requests a minute says 20), and does not say which; so it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scheduler.domain.rates import Dimension, ReportedLimit
from scheduler.providers.dialects import openai


def limits_in(headers: Mapping[str, str], refusal: bytes) -> tuple[ReportedLimit, ...]:
    """The token limits that headers and the body of a 429 (else empty) report."""
    return tuple(
        replace(each, reset_ms=each.reset_ms or None)
        for each in openai.limits_in(headers, refusal)
        if each.dimension is not Dimension.REQUESTS
    )
