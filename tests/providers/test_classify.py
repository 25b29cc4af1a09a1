"""What an HTTP answer means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scheduler.domain.capacity import Period
from scheduler.domain.outcome import Failed, Fatal, FatalScope, LimitHit, Refusal, Retry, Succeeded, Usage
from scheduler.domain.rates import Dimension, RateReport, ReportedLimit
from scheduler.providers.classify import classify
from scheduler.providers.error_bodies import MESSAGE_CHARS
from scheduler.providers.profiles import PROFILES

NOW_S = 1_800_000_000.0


def error(message: str = "no", **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


def test_a_good_answer_is_kept_byte_for_byte_with_its_usage() -> None:
    body = b'{ "id":"x",  "usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5} }'
    end = classify(200, {"x-request-id": "r", "set-cookie": "s", "x-ratelimit-limit-requests": "9"}, body, NOW_S)
    rates = RateReport((ReportedLimit(Dimension.REQUESTS, Period.MINUTE, 9, None, None),))
    assert end == Succeeded(body, {"x-request-id": "r", "x-ratelimit-limit-requests": "9"}, Usage(3, 2), rates)


def test_tokens_from_the_cache_are_told_apart() -> None:
    end = classify(200, {}, b'{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":8}}}', NOW_S)
    assert isinstance(end, Succeeded)
    assert end.usage == Usage(9, None, 8)
    end = classify(200, {}, b'{"usage":{"input_tokens":9,"input_tokens_details":[]}}', NOW_S)
    assert isinstance(end, Succeeded)
    assert end.usage == Usage(9, None, None)


def test_the_responses_endpoint_names_its_usage_differently() -> None:
    end = classify(200, {}, b'{"usage":{"input_tokens":7,"output_tokens":1}}', NOW_S)
    assert isinstance(end, Succeeded)
    assert end.usage == Usage(7, 1)


@pytest.mark.parametrize("body", [b"{}", b'{"usage":null}', b'{"usage":"x"}', b'{"usage":{"prompt_tokens":"3"}}'])
def test_an_answer_without_readable_usage_is_an_answer(body: bytes) -> None:
    end = classify(200, {}, body, NOW_S)
    assert isinstance(end, Succeeded)
    assert end.usage == Usage(None, None)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a":', b'["a"]', b'"a"', b'{"a":"\xff"}'])
def test_a_good_status_without_a_json_object_is_tried_again(body: bytes) -> None:
    end = classify(200, {}, body, NOW_S)
    assert isinstance(end, Retry)
    assert (end.code, end.transport) == ("BAD_RESPONSE", False)


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again_and_retry_after_is_kept(status: int) -> None:
    end = classify(status, {"retry-after": "2"}, error("busy"), NOW_S)
    assert end == Retry("busy", f"PROVIDER_{status}", 2_000, refusal=Refusal(status, error("busy")))


@pytest.mark.parametrize(
    ("headers", "message", "wait_ms"),
    [
        ({"retry-after-ms": "17", "retry-after": "5"}, "try again in 9s", 17),
        ({"retry-after": "5"}, "Please try again in 9.816s.", 5_000),
        ({}, "Limit 10, Used 10, Requested 1. Please try again in 9.816s. Visit", 9_816),
        ({}, "Please try again in 1m2.5s", 62_500),
        (
            {
                "x-ratelimit-limit-requests": "9",
                "x-ratelimit-reset-requests": "6m0s",
                "x-ratelimit-remaining-requests": "0",
            },
            "slow",
            360_000,
        ),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:10 GMT"}, "slow", 10_000),
        ({}, "slow", 0),
    ],
)
def test_a_limit_says_how_long_to_wait(headers: dict[str, str], message: str, wait_ms: int) -> None:
    end = classify(429, headers, error(message, code="rate_limit_exceeded"), NOW_S)
    assert isinstance(end, LimitHit)
    assert (end.after_ms, end.reason) == (wait_ms, message)


def test_a_hint_beside_the_message_goes_before_a_header_that_says_less() -> None:
    headers = {"x-ratelimit-limit-requests": "9", "x-ratelimit-reset-requests": "1s"}
    for body in (b"Too many. Try again in 30s.", b'{"error":{"message":"q","details":[{"retryDelay": "30s"}]}}'):
        end = classify(429, headers, body, NOW_S)
        assert isinstance(end, LimitHit)
        assert end.after_ms == 30_000


def test_gemini_says_the_wait_in_its_details() -> None:
    body = b'{"error":{"message":"q","details":[{"retryDelay": "53s"}]}}'
    assert classify(429, {}, body, NOW_S) == LimitHit(53_000, "q")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "insufficient_quota"),
        (429, "credit_balance_exhausted"),
        (429, "project_spend_limit_exceeded"),
        (429, "org_usage_limit_exceeded"),
        (403, "billing_not_active"),
        (402, "anything"),
    ],
)
def test_no_credit_is_fatal_for_the_connection(status: int, code: str) -> None:
    end = classify(status, {"retry-after": "1"}, error("pay", code=code), NOW_S)
    assert end == Fatal(FatalScope.CONNECTION, "pay", "PROVIDER_NO_CREDIT", 1_000)


def test_a_daily_quota_is_fatal_for_the_connection() -> None:
    body = b'{"error":{"message":"q","details":[{"violations":[{"quotaId":"RequestsPerDayPerProject"}]}]}}'
    end = classify(429, {}, body, NOW_S)
    assert isinstance(end, Fatal)
    assert end.scope is FatalScope.CONNECTION


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "Request too large for gpt"),
        (429, "… on tokens per min (TPM): Limit 10000, Used 1, Requested 10001."),
        (429, "… tokens per minute (TPM): Limit: 10000, Requested: 10001, please reduce …"),
        (413, "big"),
    ],
)
def test_too_large_a_request_is_fatal_for_the_item(status: int, message: str) -> None:
    end = classify(status, {}, error(message), NOW_S)
    assert isinstance(end, Fatal)
    assert (end.scope, end.reason, end.code) == (FatalScope.ITEM, message, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_fatal_for_the_connection_and_never_quoted(status: int) -> None:
    end = classify(status, {}, error("Incorrect API key provided: sk-abc***xyz"), NOW_S)
    assert isinstance(end, Fatal)
    assert end.scope is FatalScope.CONNECTION
    assert "sk-" not in end.reason


@pytest.mark.parametrize(
    ("status", "fields", "code"),
    [
        (400, {"code": "context_length_exceeded"}, "CONTEXT_LENGTH_EXCEEDED"),
        (400, {"type": "invalid_request_error"}, "INVALID_REQUEST"),
        (403, {"code": "content_filter"}, "INVALID_REQUEST"),
        (404, {"code": "model_not_found"}, "MODEL_NOT_FOUND"),
        (422, {}, "INVALID_REQUEST"),
    ],
)
def test_a_bad_request_fails(status: int, fields: dict[str, str], code: str) -> None:
    end = classify(status, {}, error("why", **fields), NOW_S)
    assert isinstance(end, Failed)
    assert (end.code, end.reason, end.status) == (code, "why", status)


@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b"[]", b'{"error":5}', b'{"error":{"code":{}}}', b"\xff"])
def test_any_body_of_an_error_is_understood(body: bytes) -> None:
    assert isinstance(classify(400, {}, body, NOW_S), Failed)
    assert isinstance(classify(429, {}, body, NOW_S), LimitHit)
    assert isinstance(classify(500, {}, body, NOW_S), Retry)


ANTHROPIC = PROFILES["anthropic"]


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (429, "rate_limit_error", "Your organisation's spend cap is reached."),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        (400, "invalid_request_error", "You have reached your specified API usage limits. You will regain access …"),
        (402, "billing_error", "pay"),
    ],
)
def test_anthropic_says_that_it_is_about_money(status: int, kind: str, message: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    assert classify(status, {}, body, NOW_S, ANTHROPIC) == Fatal(FatalScope.CONNECTION, message, "PROVIDER_NO_CREDIT")


def test_groqs_full_flex_tier_is_tried_again() -> None:
    end = classify(498, {}, error("capacity exceeded", code="capacity_exceeded"), NOW_S, PROFILES["groq"])
    assert isinstance(end, Retry)
    assert end.code == "PROVIDER_498"
    assert isinstance(classify(498, {}, error("invalid token"), NOW_S), Failed)


def test_anthropics_other_limits_pass() -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}'
    assert classify(429, {"retry-after": "3"}, body, NOW_S, ANTHROPIC) == LimitHit(3_000, "slow")
    used_up = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:07Z",
    }
    end = classify(429, used_up, body, NOW_S, ANTHROPIC)
    assert isinstance(end, LimitHit)
    assert end.after_ms == 7_000
    overloaded = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert classify(529, {}, overloaded, NOW_S, ANTHROPIC) == Retry(
        "Overloaded", "PROVIDER_529", refusal=Refusal(529, overloaded)
    )
    too_long = b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 2 > 1"}}'
    end = classify(400, {}, too_long, NOW_S, ANTHROPIC)
    assert isinstance(end, Failed)
    assert end.code == "CONTEXT_LENGTH_EXCEEDED"


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308])
def test_a_redirect_is_not_followed_and_fails_the_item(status: int) -> None:
    end = classify(status, {"location": "http://elsewhere"}, b"", NOW_S)
    assert isinstance(end, Failed)
    assert (end.code, end.status) == ("PROVIDER_REDIRECTED", status)
    assert "base URL" in end.reason


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ('{"prompt_tokens": 7.0, "completion_tokens": "3"}', Usage(7, None)),
        ('{"prompt_tokens": -5, "completion_tokens": 3}', Usage(None, 3)),
        ('{"prompt_tokens": 2147483648, "completion_tokens": 1e30}', Usage(None, None)),
        ('{"prompt_tokens": true, "completion_tokens": 2147483647}', Usage(None, 2**31 - 1)),
        ('{"prompt_tokens": null, "input_tokens": 4, "output_tokens": 5}', Usage(4, 5)),
        ("[]", Usage(None, None)),
        ("null", Usage(None, None)),
    ],
)
def test_a_usage_that_cannot_be_costs_nothing_but_itself(usage: str, expected: Usage) -> None:
    end = classify(200, {}, b'{"usage": %s}' % usage.encode(), NOW_S)
    assert isinstance(end, Succeeded)
    assert end.usage == expected


def test_an_answer_with_a_half_surrogate_keeps_its_usage() -> None:
    end = classify(200, {}, b'{"s": "\\ud800", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}', NOW_S)
    assert isinstance(end, Succeeded)
    assert end.usage == Usage(1, 2)


def test_a_providers_message_is_cut_and_made_storable() -> None:
    end = classify(400, {}, error("a\x00\ud800" + "b" * 5_000), NOW_S)
    assert isinstance(end, Failed)
    assert len(end.reason) <= MESSAGE_CHARS
    assert "\x00" not in end.reason
    end.reason.encode()


RPD = "Rate limit reached for gpt-x in organization org-1 on requests per day (RPD): Limit 200, Used 200, Requested 1."
TPD = (
    "Rate limit reached for model `llama` in organization `org_1` service tier `on_demand` on tokens per day (TPD): "
    "Limit 100000, Used 99500, Requested 1200. Please try again in 10m3s."
)
TPM = (
    "Rate limit reached for gpt-x in organization org-1 on tokens per min (TPM): Limit 10000, Used 9990, Requested 20."
)
DAY_USED_UP = {"x-ratelimit-limit-requests": "14400", "x-ratelimit-remaining-requests": "0"}
ALL_USED_UP = {**DAY_USED_UP, "x-ratelimit-limit-tokens": "6000", "x-ratelimit-remaining-tokens": "0"}


@pytest.mark.parametrize(
    ("message", "headers", "one_model"),
    [
        (RPD, {}, True),
        (TPD, {}, True),
        (TPM, {}, False),
        (TPM, DAY_USED_UP, False),  # the words are about what was hit
        ("You may make 20 requests per hour.", {}, True),
        ("Too many requests.", {}, False),
        ("Too many requests.", DAY_USED_UP, True),
        ("Too many requests.", ALL_USED_UP, False),
    ],
)
def test_a_limit_of_a_day_counts_one_model(message: str, headers: dict[str, str], one_model: bool) -> None:
    body = json.dumps({"error": {"message": message, "code": "rate_limit_exceeded"}}).encode()
    end = classify(429, {"retry-after": "432", **headers}, body, NOW_S, PROFILES["groq"])
    assert isinstance(end, LimitHit)
    assert (end.after_ms, end.one_model) == (432_000, one_model)
