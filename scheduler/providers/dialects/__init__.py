"""What providers say of their limits, in headers or in bodies: one file per dialect, all pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from scheduler.domain.rates import RateReport, ReportedLimit
from scheduler.providers.dialects import anthropic, azure, gemini, openai
from scheduler.providers.profile import Dialect


def read_rates(
    dialect: Dialect, status: int, headers: Mapping[str, str], body: bytes, now_s: float
) -> RateReport | None:
    """The limits that an answer reports; None when it reports none that can be made out.

    headers: lower-case names. now_s: Unix time, for resets that are dates. Bodies are looked at for a 429 only.
    """
    refused = body if status == 429 else b""
    limits: tuple[ReportedLimit, ...]
    match dialect:
        case Dialect.GENERIC | Dialect.OPENAI:
            limits = openai.limits_in(headers, refused)
        case Dialect.GROQ:
            limits = openai.limits_in(headers, refused, requests_by_day=True)
        case Dialect.AZURE:
            limits = azure.limits_in(headers, refused)
        case Dialect.ANTHROPIC:
            limits = anthropic.limits_in(headers, now_s)
        case Dialect.GEMINI:
            limits = gemini.limits_in(refused)
        case _:
            assert_never(dialect)
    return RateReport(limits) if limits else None
