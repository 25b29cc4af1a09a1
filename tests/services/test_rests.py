"""Direct calls that a provider refuses together, without saying until when."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest
from yarl import URL

from scheduler.domain.errors import Unavailable
from scheduler.domain.outcome import LimitHit
from scheduler.domain.retry import spread_ms
from scheduler.domain.setup import Provider
from scheduler.providers.call import Account
from scheduler.services.budgets.pausing import ALL_MODELS, budget_of
from scheduler.services.direct import rests
from scheduler.services.direct.feedback import DirectFeedback
from scheduler.services.direct.rests import LONGEST_UNSAID_MS, Rests

ACCOUNT = Account(UUID(int=7), "p", Provider.OPENAI_COMPATIBLE, cast(Any, URL("http://127.0.0.1")), {})
BUDGET = budget_of(ACCOUNT.connection_id, ALL_MODELS)
REFUSED = LimitHit(0, "429")
MONOTONIC_S, WALL_S = 100.0, 1_795_000_000.0


class Engine:
    """Takes note of the pauses that are asked for. away: it does not answer."""

    def __init__(self) -> None:
        self.pauses_ms: list[int] = []
        self.away = False

    async def pause_budget(
        self, shard: int, budget: str, pause_ms: int, reason: str, cause: object, learned: str = ""
    ) -> None:
        assert (shard, budget) == (3, BUDGET)
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("Redis is away.")
        self.pauses_ms.append(pause_ms)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def feedback(engine: Engine) -> DirectFeedback:
    return DirectFeedback(cast(Any, engine), cast(Any, None), cast(Any, None), lambda: MONOTONIC_S, lambda: WALL_S)


async def test_calls_that_are_refused_together_pause_once(engine: Engine, feedback: DirectFeedback) -> None:
    await asyncio.gather(*(feedback.limit(3, ACCOUNT, "m", REFUSED) for _ in range(8)))
    assert engine.pauses_ms == [spread_ms(1_000, BUDGET, WALL_S)], "spread by wall time, like every host's"


async def test_a_time_that_is_told_always_counts(engine: Engine, feedback: DirectFeedback) -> None:
    for end in (REFUSED, replace(REFUSED, after_ms=5_000), REFUSED):
        await feedback.limit(3, ACCOUNT, "m", end)
    assert engine.pauses_ms == [spread_ms(told_ms, BUDGET, WALL_S) for told_ms in (1_000, 5_000)]


async def test_a_pause_that_did_not_arrive_is_asked_for_again(engine: Engine, feedback: DirectFeedback) -> None:
    engine.away = True
    await feedback.limit(3, ACCOUNT, "m", REFUSED)
    engine.away = False
    await feedback.limit(3, ACCOUNT, "m", REFUSED)
    assert len(engine.pauses_ms) == 1


def test_pauses_in_a_row_double_up_to_a_minute_until_an_answer_comes() -> None:
    resting, now_s, asked = Rests(), 100.0, []
    for _ in range(20):
        pause_ms = resting.limited("b", 0, now_s)
        assert pause_ms is not None
        assert resting.limited("b", 0, now_s + pause_ms / 1000 - 0.001) is None
        asked.append(pause_ms)
        now_s += pause_ms / 1000
    assert asked[:7] == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, LONGEST_UNSAID_MS]
    assert asked[-1] == LONGEST_UNSAID_MS
    resting.answered("b")
    assert not resting.known
    assert resting.limited("b", 0, now_s) == 1_000


def test_an_answer_to_an_earlier_call_does_not_end_the_pause() -> None:
    resting = Rests()
    assert resting.limited("b", 0, 100.0) == 1_000
    resting.answered("b")
    assert resting.limited("b", 0, 100.5) is None
    assert resting.limited("other", 0, 100.5) == 1_000


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rests, "REMEMBERED", 2)
    resting = Rests()
    assert [resting.limited(budget, 0, 100.0) for budget in "abc"] == [1_000] * 3
    assert resting.limited("c", 0, 100.0) is None
    assert resting.limited("a", 0, 100.0) == 1_000, "forgotten"
