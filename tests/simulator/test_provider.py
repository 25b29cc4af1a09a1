"""One call in, one outcome out, at a set clock."""

import json
from typing import Any

import pytest

from brim_server.simulator.options import Options
from brim_server.simulator.provider import Outcome, Provider, Reply, Request, Reset, Silence

S = 1_000_000
START_US = 1_800_000_000 * S
CHAT = b"/v1/chat/completions"


def request(text: str = "hello", path: bytes = CHAT, **more: Any) -> Request:
    body = {"model": "sim-model", "messages": [{"role": "user", "content": text}]} | more
    return Request(b"POST", path, json.dumps(body).encode())


def reply(outcome: Outcome) -> Reply:
    assert isinstance(outcome, Reply)
    if outcome.call is not None:
        outcome.call.end(outcome.status)
    return outcome


def statuses(provider: Provider, calls: int, **more: Any) -> list[int]:
    return [reply(provider.call(request(f"q{n}", **more), START_US)).status for n in range(calls)]


def kinds(provider: Provider, calls: int) -> dict[str, int]:
    counts = {"200": 0, "500": 0, "garbage": 0, "hang": 0, "reset": 0}
    for number in range(calls):
        match provider.call(request(f"q{number}"), START_US):
            case Silence():
                counts["hang"] += 1
            case Reset():
                counts["reset"] += 1
            case Reply(status=200, body=body) if not body.startswith(b"{"):
                counts["garbage"] += 1
            case Reply(status=status):
                counts[str(status)] += 1
    return counts


def test_the_same_request_gets_the_same_answer() -> None:
    first, second = Provider(Options(), START_US), Provider(Options(seed=9), START_US + 50 * S)
    assert reply(first.call(request(), START_US)).body == reply(second.call(request(), START_US + 60 * S)).body
    assert reply(first.call(request("other"), START_US)).body != reply(first.call(request(), START_US)).body


def test_an_answer_is_no_longer_than_allowed() -> None:
    provider = Provider(Options(), START_US)
    for number in range(200):
        answer = json.loads(reply(provider.call(request(f"q{number}", max_tokens=20, n=2), START_US)).body)
        for choice in answer["choices"]:
            words = len(choice["message"]["content"].split())
            assert 1 <= words <= 20
            assert choice["finish_reason"] == ("length" if words == 20 else "stop")
        assert answer["usage"]["completion_tokens"] == sum(
            len(choice["message"]["content"].split()) for choice in answer["choices"]
        )


def test_the_rates_of_faults_are_kept() -> None:
    options = Options(error_rate=0.2, hang_rate=0.1, reset_rate=0.1, garbage_rate=0.1)
    counts = kinds(Provider(options, START_US), 2000)
    assert 340 < counts["500"] < 460
    assert all(140 < counts[kind] < 260 for kind in ("hang", "reset", "garbage"))
    assert counts == kinds(Provider(options, START_US), 2000), "the same seed draws the same faults"


def test_the_limiter_refuses_and_recovers() -> None:
    provider = Provider(Options(rpm=3, shape="sliding"), START_US)
    assert statuses(provider, 4) == [200, 200, 200, 429]
    assert reply(provider.call(request("later"), START_US + 60 * S)).status == 200
    stats = provider.ledger.stats()
    assert stats["worst_minute"]["requests"] == 4
    assert stats["worst_minute_admitted"]["requests"] == 3
    assert stats["refusals"] == {"requests": 1}


def test_failed_calls_are_charged() -> None:
    provider = Provider(Options(rpm=2, error_rate=1.0), START_US)
    assert statuses(provider, 3) == [500, 500, 429]


def test_a_request_that_never_fits_says_so() -> None:
    refused = reply(Provider(Options(tpm=100), START_US).call(request(max_tokens=500), START_US))
    error = json.loads(refused.body)["error"]
    assert refused.status == 429
    assert error["message"].startswith("Request too large for sim-model")
    assert "Limit 100, Requested 508." in error["message"]
    assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
    assert b"retry-after" not in refused.head


def test_a_scripted_fault_strikes_so_many_times() -> None:
    provider = Provider(Options(), START_US)
    flaky = request(brim_sim={"status": 503, "fail_times": 2})
    assert [reply(provider.call(flaky, START_US)).status for _ in range(4)] == [503, 503, 200, 200]
    other = request("other", brim_sim={"status": 400})
    assert [reply(provider.call(other, START_US)).status for _ in range(3)] == [400, 400, 400]


def test_a_scripted_429_is_not_charged_and_a_real_one_is_no_strike() -> None:
    provider = Provider(Options(rpm=1, shape="sliding"), START_US)
    flaky = request(brim_sim={"status": 429, "fail_times": 1, "retry_after_ms": 1500})
    first = reply(provider.call(flaky, START_US))
    assert (first.status, first.head) == (429, b"retry-after: 2\r\nretry-after-ms: 1500\r\n")
    assert reply(provider.call(flaky, START_US)).status == 200
    failing = request("b", brim_sim={"status": 500, "fail_times": 1})
    assert reply(provider.call(failing, START_US)).status == 429
    assert reply(provider.call(failing, START_US + 60 * S)).status == 500
    assert reply(provider.call(failing, START_US + 120 * S)).status == 200


@pytest.mark.parametrize(
    "scripted",
    [
        request(brim_sim={"latency_ms": 7}),
        request(metadata={"brim_sim": '{"latency_ms": 7}'}),
        Request(b"POST", CHAT, request().body, b"", b'{"latency_ms": 7}'),
    ],
)
def test_a_script_comes_in_the_body_the_metadata_or_a_header(scripted: Request) -> None:
    assert reply(Provider(Options(), START_US).call(scripted, START_US)).delay_s == 0.007


@pytest.mark.parametrize(("wanted", "words"), [(0, 0), (5, 5), (64, 64), (100, 100), (10_000, 300)])
def test_a_script_sets_how_long_the_answer_is(wanted: int, words: int) -> None:
    scripted = request(max_tokens=300, brim_sim={"completion_tokens": wanted})
    answer = json.loads(reply(Provider(Options(), START_US).call(scripted, START_US)).body)
    assert len(answer["choices"][0]["message"]["content"].split()) == words
    assert answer["usage"]["completion_tokens"] == words


@pytest.mark.parametrize("script", [{"status": 200}, {"latency_ms": -1}, {"retry_after_ms": -1}, {"hangs": True}])
def test_a_script_that_makes_no_sense_is_400_and_named(script: dict[str, Any]) -> None:
    refused = reply(Provider(Options(), START_US).call(request(brim_sim=script), START_US))
    assert refused.status == 400
    assert next(iter(script)).encode() in refused.body


def test_scripts_hang_reset_and_garble() -> None:
    provider = Provider(Options(), START_US)
    assert isinstance(provider.call(request(brim_sim={"hang": True}), START_US), Silence)
    assert isinstance(provider.call(request(brim_sim={"reset": True}), START_US), Reset)
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(reply(provider.call(request(brim_sim={"garbage": True}), START_US)).body)


def test_refusing_all_ends_after_its_time() -> None:
    options = Options(refuse_for_s=10, refuse_code="insufficient_quota", refuse_retry_after_ms=None)
    provider = Provider(options, START_US)
    refused = reply(provider.call(request(), START_US + 9 * S))
    assert (refused.status, refused.head) == (429, b"")
    assert json.loads(refused.body)["error"]["code"] == "insufficient_quota"
    assert reply(provider.call(request(), START_US + 10 * S)).status == 200
    assert provider.ledger.stats()["refusals"] == {"refuse_all": 1}


def test_latency_lies_between_its_bounds() -> None:
    provider = Provider(Options(latency_ms=10, latency_jitter_ms=20), START_US)
    delays_s = [reply(provider.call(request(), START_US)).delay_s for _ in range(200)]
    assert 0.010 <= min(delays_s) < 0.015 < 0.025 < max(delays_s) <= 0.030


def test_changed_settings_keep_the_meters_unless_a_limit_changed() -> None:
    provider = Provider(Options(rpm=2, shape="sliding"), START_US)
    assert statuses(provider, 3) == [200, 200, 429]
    provider.change(Options(rpm=2, shape="sliding", latency_ms=1), START_US)
    assert statuses(provider, 1) == [429]
    provider.change(Options(rpm=3, shape="sliding"), START_US)
    assert statuses(provider, 4) == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rpm": 0}, "rpm"),
        ({"tpm": -1}, "tpm"),
        ({"slice_s": 0}, "slice_s"),
        ({"error_rate": 1.5}, "error_rate"),
        ({"error_rate": 0.6, "hang_rate": 0.6}, "hang_rate"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"latency_ms": float("nan")}, "latency_ms"),
        ({"refuse_status": 200}, "refuse_status"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Options(**options)
