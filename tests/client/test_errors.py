"""Every error of the layer below has one of ours, and pauses follow the policy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from brim import ApiError, BrimError, ConnectionFailed, RetryPolicy, Unavailable
from brim.answers import failure, raise_refusal


def _subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for sub in kind.__subclasses__():
        yield from _subclasses(sub)


HTTPX_ERRORS = sorted(
    {k for root in (httpx.HTTPError, httpx.InvalidURL) for k in _subclasses(root) if k.__module__ == "httpx"},
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", HTTPX_ERRORS)
def test_each_httpx_error_becomes_ours(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    error.args = ("reason",)
    assert isinstance(error, httpx.HTTPError | httpx.InvalidURL)
    ours = failure(error, "http://brim")
    assert isinstance(ours, BrimError)
    assert "http://brim" in str(ours)


def _refusal(status: int, content: bytes, headers: dict[str, str] | None = None) -> ApiError:
    response = httpx.Response(status, content=content, headers=headers, request=httpx.Request("GET", "http://b"))
    with pytest.raises(ApiError) as raised:
        raise_refusal(response)
    return raised.value


def test_refusals_of_a_proxy_are_readable_too() -> None:
    error = _refusal(502, b"<html><body>long page</body></html>")
    assert isinstance(error, Unavailable)
    assert str(error) == "HTTP_502: Bad Gateway"
    assert str(_refusal(403, b"blocked")) == "HTTP_403: blocked"
    assert len(_refusal(403, b"x" * 5000).message) == 201
    assert str(_refusal(302, b"")) == "HTTP_302: Found"


@pytest.mark.parametrize(("value", "seconds"), [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("nan", None), ("?", None)])
def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    error = _refusal(503, b"", {"retry-after": value})
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == seconds


def test_retry_after_may_be_a_date() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    error = _refusal(503, b"", {"retry-after": at})
    assert isinstance(error, Unavailable)
    assert error.retry_after_s is not None
    assert 80 < error.retry_after_s <= 100


def test_pauses_double_are_jittered_and_bounded() -> None:
    policy = RetryPolicy(first_pause_s=1, longest_pause_s=10)
    for failures, full_s in ((1, 1), (2, 2), (3, 4), (5, 10), (5_000, 10)):
        pauses = {policy.pause_s(failures) for _ in range(50)}
        assert len(pauses) > 1
        assert all(full_s / 2 <= pause_s <= full_s for pause_s in pauses)


def test_advice_lengthens_a_pause_but_not_without_end() -> None:
    policy = RetryPolicy(first_pause_s=1, longest_advice_s=30)
    advice = Unavailable(503, "UNAVAILABLE", "down", retry_after_s=20)
    assert 20 < policy.pause_s(1, advice) < 21
    forever = Unavailable(503, "UNAVAILABLE", "down", retry_after_s=1e9)
    assert policy.pause_s(1, forever) < 31
    assert policy.pause_s(1, ConnectionFailed("x")) <= 1
