"""Every form in which a provider names a wait."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.providers.dialects import read_rates
from scheduler.providers.dialects.figures import duration_ms
from scheduler.providers.profile import Dialect
from scheduler.providers.waits import LONGEST_MS, wait_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [("17ms", 17), ("1s", 1_000), ("6m0s", 360_000), ("1h2m3s", 3_723_000), ("0.8", 800), ("1.2345s", 1_235)],
)
def test_durations(text: str, ms: int) -> None:
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "soon", "-1", "1x", "nan", "inf", "1s later", "9" * 400 + "s"])
def test_what_is_no_duration(text: str) -> None:
    assert duration_ms(text) is None


def test_the_reset_of_what_is_used_up_counts() -> None:
    headers = {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-limit-tokens": "10",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-requests": "5",
        "x-ratelimit-reset-tokens": "20s",
        "x-ratelimit-remaining-tokens": "0",
    }
    rates = read_rates(Dialect.GENERIC, 429, headers, b"", 0)
    assert wait_ms(headers, "", 0, rates) == 20_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("Please try again in 9.816s. Visit …", 9_816),
        ("Please retry in 10h17m5.723541104s.", 37_025_724),
        ("… call rate limit. Please retry after 9 seconds. Please …", 9_000),
        ("retry after 250 milliseconds", 250),
        ("Try again in 2 minutes", 120_000),
        ("Try again in 1 minute and 30 seconds.", 90_000),
        ("retry in about 12 sec", 12_000),
        ("Try again in 1m 30s", 90_000),
        ("try again in 10milliseconds", 10),
        ('{"retryDelay": "53s"}', 53_000),
        ('{"detail": "slow", "retry_after": 12.5}', 12_500),
        ('{"retry_after_ms":"250"}', 250),
        ('{"retryAfterSeconds": 3}', 3_000),
        ("retry in 5 steps", None),
        (f"retry in {'9' * 400} s", None),
        ("try again later", None),
    ],
)
def test_hints_in_words(text: str, ms: int | None) -> None:
    assert wait_ms({}, text, 0) == ms


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("10", 10_000),
        ("1.5", 1_500),
        ("1m2.5s", 62_500),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10_000),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10_000),
        ("Sun Nov  6 08:49:47 1994", 10_000),
        ("Sun, 06 Nov 1994 08:49:47 -0000", 10_000),
        ("Sun, 06 Nov 1994 03:49:47 -0500", 10_000),
    ],
)
def test_each_form_of_retry_after(value: str, ms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert wait_ms({"retry-after": value}, "", 784_111_777) == ms
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_hint_anywhere_in_the_body_goes_before_the_reset_of_a_header() -> None:
    headers = {"x-ratelimit-limit-requests": "9", "x-ratelimit-reset-requests": "1s"}
    rates = read_rates(Dialect.GENERIC, 429, headers, b"", 0)
    assert wait_ms(headers, "slow", 0, rates, body='{"detail": "Please try again in 30s"}') == 30_000
    assert wait_ms(headers, "try again in 2s", 0, rates, body="try again in 30s") == 2_000


def test_nothing_makes_us_wait_longer_than_a_day() -> None:
    assert wait_ms({"retry-after": "999999999"}, "", 0) == LONGEST_MS


@pytest.mark.parametrize("value", ["-5", "0", "x", "nan", "Fri, 99 Foo", "Fri, 01 Jan 1999 00:00:00 GMT"])
def test_an_unusable_retry_after_is_not_said(value: str) -> None:
    assert wait_ms({"retry-after": value}, "", 2e9) is None


@given(
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens"]), st.text()),
    st.text() | st.from_regex("(retry|try again) (in|after) [0-9.]{1,5} ?(s|ms|seconds)"),
)
def test_any_text_gives_a_positive_wait_or_none(headers: dict[str, str], text: str) -> None:
    found = wait_ms(headers, text, 0)
    assert found is None or 0 < found <= LONGEST_MS
