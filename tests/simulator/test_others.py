"""Callers beside us: on the same key, and at the same time."""

import json

import pytest

from brim_server.simulator.options import Options
from brim_server.simulator.provider import Provider
from tests.simulator.test_provider import START_US, S, reply, request


def remaining(provider: Provider, name: str, at_us: int) -> int:
    head = reply(provider.call(request(), at_us)).head.decode()
    return int(head.split(f"x-ratelimit-remaining-{name}: ")[1].split("\r\n")[0])


def test_others_use_their_share_of_the_requests() -> None:
    provider = Provider(Options(rpm=6_000, shape="sliding", others=0.3), START_US)
    assert remaining(provider, "requests", START_US) >= 5_998
    left = [remaining(provider, "requests", START_US + second * S) for second in (60, 120, 180)]
    assert all(4_000 <= each <= 4_400 for each in left), left
    assert provider.ledger.stats()["requests"] == 4, "they do not show among our calls"


def test_others_use_their_share_of_the_tokens() -> None:
    provider = Provider(Options(tpm=600_000, shape="sliding", others=0.5), START_US)
    assert 250_000 <= remaining(provider, "tokens", START_US + 60 * S) <= 350_000


def test_others_do_not_come_again_when_they_are_refused() -> None:
    provider = Provider(Options(rpm=60, shape="minute", others=0.9), START_US)
    for second in range(0, 600, 2):
        provider.call(request(f"q{second}"), START_US + second * S)
    assert provider.others.refused > 0
    assert provider.others.admitted + provider.others.refused == pytest.approx(540, rel=0.2)


def test_after_a_long_silence_nothing_is_caught_up_with() -> None:
    provider = Provider(Options(rpm=6_000, others=0.3), START_US)
    reply(provider.call(request(), START_US + 86_400 * S))
    assert provider.others.admitted <= 2 * 0.3 * 6_000 * 1.2


def test_calls_beyond_what_runs_in_parallel_take_longer() -> None:
    provider = Provider(Options(latency_ms=100, parallel=2, rate_headers=False), START_US)
    delays = [provider.call(request(f"q{n}"), START_US) for n in range(6)]
    assert [each.delay_s for each in delays if hasattr(each, "delay_s")] == pytest.approx(
        [0.1, 0.1, 0.15, 0.2, 0.25, 0.3]
    )


def test_without_others_answers_say_so() -> None:
    alone = Provider(Options(rpm=600, shape="sliding"), START_US)
    for second in (0, 60, 120):
        assert remaining(alone, "requests", START_US + second * S) == 599
    assert json.dumps(alone.others.admitted) == "0"
