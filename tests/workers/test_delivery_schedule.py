"""When callbacks are tried again, and what they carry."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from standardwebhooks.webhooks import Webhook

from workers.delivery_schedule import Again, Dead, Delivered, judge
from workers.signing import delivery_headers

DELIVERY = str(UUID(int=7))


def again(attempts: int, **changes: float | None) -> float:
    shape: dict[str, float | None] = {"age_s": 0.0, "retry_after_s": None, "jitter": 0.0}
    verdict = judge(500, "", attempts=attempts, **(shape | changes))  # type: ignore[arg-type]  # by name
    assert isinstance(verdict, Again)
    return verdict.delay_s


def test_the_schedule() -> None:
    assert [again(n) for n in range(12)] == [1, 3, 10, 30, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]


def test_jitter_only_lengthens_and_retry_after_is_obeyed() -> None:
    assert again(0, jitter=0.999) == pytest.approx(1.2, abs=0.01)
    assert again(0, retry_after_s=77.0) == 77


def test_after_a_day_it_is_given_up() -> None:
    verdict = judge(None, "No answer.", attempts=30, age_s=86_000, retry_after_s=None, jitter=0.0)
    assert isinstance(verdict, Dead)
    assert "31 tries" in verdict.reason


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_acknowledges(status: int) -> None:
    assert judge(status, "", attempts=0, age_s=0, retry_after_s=None, jitter=0) == Delivered()


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 410, 422])
def test_other_statuses_are_dead_at_once(status: int) -> None:
    assert isinstance(judge(status, "", attempts=0, age_s=0, retry_after_s=None, jitter=0), Dead)


@pytest.mark.parametrize("status", [None, 408, 409, 425, 429, 500, 503, 599])
def test_what_may_pass_is_tried_again(status: int | None) -> None:
    assert isinstance(judge(status, "", attempts=0, age_s=0, retry_after_s=None, jitter=0), Again)


@pytest.mark.parametrize("secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "plain text with 32 characters ..."])
def test_the_standard_package_verifies_our_signature(secret: str) -> None:
    body = '{"event":"ITEM_UPDATE","payload":{"é":1}}'.encode()
    now_s = int(datetime.now(UTC).timestamp())
    headers = delivery_headers(DELIVERY, body, {}, [secret], now_s)
    key = secret if secret.startswith("whsec_") else secret.encode()
    assert Webhook(key).verify(body, headers)


def test_users_headers_are_merged_but_never_replace_ours() -> None:
    user = {"x-webhook-id": "theirs", "Content-Length": "0", "host": "x", "X-Mine": "1", "content-type": "text/plain"}
    headers = delivery_headers(DELIVERY, b"{}", user, [], 0)
    assert headers == {
        "X-Mine": "1",
        "Content-Type": "application/json",
        "User-Agent": "brim",
        "X-Webhook-Id": DELIVERY,
        "webhook-id": DELIVERY,
        "webhook-timestamp": "0",
    }
