"""What providers say of their limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.capacity import Period
from scheduler.domain.outcome import Fatal, FatalScope, LimitHit
from scheduler.domain.rates import Dimension, RateReport, ReportedLimit
from scheduler.providers.classify import classify
from scheduler.providers.dialects import read_rates
from scheduler.providers.profile import Dialect
from scheduler.providers.profiles import PROFILES

NOW_S = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
REQUESTS, TOKENS = Dimension.REQUESTS, Dimension.TOKENS
MINUTE, DAY = Period.MINUTE, Period.DAY


def x(**figures: tuple[str | None, str | None, str | None]) -> dict[str, str]:
    """x-ratelimit headers: (limit, remaining, reset) by name, with _ for -."""
    headers = {}
    for name, values in figures.items():
        for kind, value in zip(("limit", "remaining", "reset"), values, strict=True):
            if value is not None:
                headers[f"x-ratelimit-{kind}-{name.replace('_', '-')}"] = value
    return headers


def read(dialect: Dialect, headers: dict[str, str], status: int = 200, body: bytes = b"") -> tuple[ReportedLimit, ...]:
    report = read_rates(dialect, status, headers, body, NOW_S)
    return report.limits if report else ()


def test_openai_says_when_a_limit_is_full_again() -> None:
    headers = x(requests=("10000", "9999", "6ms"), tokens=("150000", "149984", "17ms"))
    assert read(Dialect.OPENAI, headers) == (
        ReportedLimit(REQUESTS, MINUTE, 10_000, 9_999, 6),
        ReportedLimit(TOKENS, MINUTE, 150_000, 149_984, 17),
    )


@pytest.mark.parametrize("dialect", [Dialect.OPENAI, Dialect.GENERIC])
@pytest.mark.parametrize(
    ("figures", "period"),
    [
        (("60", "59", "1s"), MINUTE),
        (("200", "199", "7m12s"), DAY),
        (("10000", "9992", "1m9.12s"), DAY),
        (("10000", "0", "24h0m0s"), DAY),
        (("10000", "9999", "8.64s"), MINUTE),  # of a day, but hardly used: so say minutes that soon end
        (("1000", "990", "8h0m0s"), DAY),  # a day that begins at midnight
        (("10000", "10000", "0s"), MINUTE),
        (("500", "10", "58s"), MINUTE),
        (("500", None, "58s"), MINUTE),
        (("500", "10", None), MINUTE),
        (("500", "500", "1m0s"), MINUTE),
        (("500", "0", "1m12s"), MINUTE),
    ],
)
def test_limits_of_small_accounts_count_a_day(
    dialect: Dialect, figures: tuple[str, str | None, str | None], period: Period
) -> None:
    (found,) = read(dialect, x(requests=figures))
    assert found.period is period


@pytest.mark.parametrize("figures", [("150000", "149984", "6m0s"), ("500", None, "20m"), ("500", "500", "10m")])
def test_a_period_that_cannot_be_told_is_not_guessed(figures: tuple[str, str | None, str]) -> None:
    (found,) = read(Dialect.OPENAI, x(tokens=figures))
    assert found.period is None


@given(st.integers(1, 1_000_000), st.floats(0, 1), st.integers(0, 60_000))
def test_a_reset_at_the_end_of_a_minute_never_looks_like_a_day(limit: int, used: float, reset_ms: int) -> None:
    headers = x(requests=(str(limit), str(limit - round(limit * used)), f"{reset_ms}ms"))
    (found,) = read(Dialect.OPENAI, headers)
    assert found.period is MINUTE


def test_a_project_has_limits_of_its_own() -> None:
    headers = x(tokens=("150000", "149984", "6ms"), project_tokens=("1000", "900", "6s"))
    assert [(each.pool, each.limit) for each in read(Dialect.OPENAI, headers)] == [("", 150_000), ("project", 1_000)]


def test_groq_counts_requests_by_the_day_and_tokens_by_the_minute() -> None:
    headers = x(requests=("14400", "14370", "2m59.56s"), tokens=("18000", "17997", "7.66s"))
    assert read(Dialect.GROQ, headers) == (
        ReportedLimit(REQUESTS, DAY, 14_400, 14_370, 179_560),
        ReportedLimit(TOKENS, MINUTE, 18_000, 17_997, 7_660),
    )


def test_cerebras_names_its_periods_and_resets_in_float_seconds() -> None:
    headers = x(requests_day=("1000000000", "999999", "33011.382867"), tokens_minute=("1000000000", "999", "11.382867"))
    assert read(Dialect.GENERIC, headers) == (
        ReportedLimit(REQUESTS, DAY, 1_000_000_000, 999_999, 33_011_383),
        ReportedLimit(TOKENS, MINUTE, 1_000_000_000, 999, 11_383),
    )


def test_anthropic_rounds_tokens_and_resets_at_a_time() -> None:
    headers = {}
    for name, limit, left, reset in (
        ("requests", "50", "49", "2027-01-15T08:00:01Z"),
        ("input-tokens", "50000", "49000", "2027-01-15T08:00:00.5+00:00"),
        ("output-tokens", "10000", "0", "2027-01-15T07:59:00Z"),
    ):
        for kind, value in (("limit", limit), ("remaining", left), ("reset", reset)):
            headers[f"anthropic-ratelimit-{name}-{kind}"] = value
    assert read(Dialect.ANTHROPIC, headers) == (
        ReportedLimit(REQUESTS, MINUTE, 50, 49, 1_000),
        ReportedLimit(Dimension.INPUT_TOKENS, MINUTE, 50_000, 49_000, 500, 1_000),
        ReportedLimit(Dimension.OUTPUT_TOKENS, MINUTE, 10_000, 0, 0, 1_000),
    )


def test_a_reset_that_is_no_time_is_not_said() -> None:
    for reset in (None, "", "soon", "2027-01-15T08:00:01"):
        headers = {"anthropic-ratelimit-requests-limit": "50"} | (
            {"anthropic-ratelimit-requests-reset": reset} if reset is not None else {}
        )
        (found,) = read(Dialect.ANTHROPIC, headers)
        assert found.reset_ms == (1_000 if reset and "T" in reset else None)


def test_azures_gaps_are_not_figures_and_its_requests_are_of_a_slice() -> None:
    assert read(Dialect.AZURE, {}) == ()
    assert read(Dialect.AZURE, x(requests=("20", "19", None), tokens=("-1", "-1", "0"))) == ()
    assert read(Dialect.AZURE, x(tokens=("0", "0", "0"))) == ()
    assert read(Dialect.AZURE, x(tokens=("20000", "-1", "0"))) == (ReportedLimit(TOKENS, MINUTE, 20_000, None, None),)


def test_a_429_repeats_the_limit_that_was_hit() -> None:
    message = (
        "Rate limit reached for gpt-x in organization org-1 on tokens per min (TPM): Limit 10000, Used 9990, "
        "Requested 20. Please try again in 60ms."
    )
    body = json.dumps({"error": {"message": message, "code": "rate_limit_exceeded"}}).encode()
    limit = ReportedLimit(TOKENS, MINUTE, 10_000, 10, None)
    assert classify(429, {}, body, NOW_S, PROFILES["openai"]) == LimitHit(60, message, RateReport((limit,)))
    assert read(Dialect.OPENAI, x(tokens=("10000", "3", "1s")), 429, body) == (
        ReportedLimit(TOKENS, MINUTE, 10_000, 3, 1_000),
    )
    daily = body.replace(b"tokens per min (TPM)", b"requests per day (RPD)")
    assert read(Dialect.OPENAI, {}, 429, daily) == (ReportedLimit(REQUESTS, DAY, 10_000, 10, None),)
    assert read(Dialect.OPENAI, {}, 200, body) == ()
    outgoing = body.replace(b"on tokens per min (TPM)", b"on output tokens per minute (OTPM)")
    assert read(Dialect.GROQ, {}, 429, outgoing) == (ReportedLimit(Dimension.OUTPUT_TOKENS, MINUTE, 10_000, 10, None),)
    assert read(Dialect.GROQ, {}, 429, body.replace(b"on tokens", b"on input requests")) == ()


def gemini(*violations: dict[str, Any], delay: str = "46s") -> bytes:
    """As its OpenAI-compatible endpoint sends it: in a list."""
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": list(violations)},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    error = {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": details}
    return json.dumps([{"error": error}]).encode()


def test_gemini_names_its_quotas_in_the_body() -> None:
    minute = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "5"}
    tokens = {"quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier", "quotaValue": "250000"}
    limits = (
        ReportedLimit(REQUESTS, MINUTE, 5, 0, 46_000),
        ReportedLimit(Dimension.INPUT_TOKENS, MINUTE, 250_000, 0, 46_000),
    )
    end = classify(429, {}, gemini(minute, tokens), NOW_S, PROFILES["gemini"])
    assert end == LimitHit(46_000, "quota", RateReport(limits))


@pytest.mark.parametrize(
    ("violation", "scope", "code", "after_ms"),
    [
        (
            {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "20"},
            FatalScope.MODEL,
            "PROVIDER_QUOTA_USED_UP",
            86_400_000,  # from one midnight Pacific time to the next
        ),
        (
            {"quotaId": "GenerateRequestsPerDayPerProject-FreeTier", "quotaValue": "20"},
            FatalScope.CONNECTION,
            "PROVIDER_QUOTA_USED_UP",
            86_400_000,
        ),
        (
            {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "0"},
            FatalScope.MODEL,
            "PROVIDER_NO_CREDIT",
            35_640_000,
        ),
    ],
)
@pytest.mark.parametrize("profile", ["gemini", "generic"])
def test_geminis_day_and_its_quotas_of_nothing_do_not_pass(
    violation: dict[str, Any], scope: FatalScope, code: str, after_ms: int, profile: str
) -> None:
    end = classify(429, {}, gemini(violation, delay="35640s"), NOW_S, PROFILES[profile])
    assert isinstance(end, Fatal)
    assert (end.scope, end.code, end.after_ms) == (scope, code, after_ms)


texts = st.text(max_size=12) | st.sampled_from(["-1", "0", "9", "1e9", "nan", "inf", "1m0s", "2027-01-15T08:00:00"])
names = st.sampled_from(["requests", "tokens", "input-tokens", "tokens-minute", "requests-day", "x", "-day"])
kinds = st.sampled_from(["x-ratelimit-{kind}-{name}", "anthropic-ratelimit-{name}-{kind}"])


@given(
    st.sampled_from(Dialect),
    st.lists(st.tuples(kinds, st.sampled_from(["limit", "remaining", "reset"]), names, texts)),
    st.binary() | st.text().map(str.encode) | st.just(b'{"error":{"details":[{"violations":[{"quotaId":7},null]}]}}'),
)
def test_nothing_that_a_provider_says_breaks_us(
    dialect: Dialect, said: list[tuple[str, str, str, str]], body: bytes
) -> None:
    headers = {form.format(kind=kind, name=name): value for form, kind, name, value in said}
    for status in (200, 429):
        for limit in read(dialect, headers, status, body):
            assert limit.limit is None or limit.limit >= 0
            assert limit.remaining is None or limit.remaining >= 0
            assert limit.reset_ms is None or limit.reset_ms >= 0
