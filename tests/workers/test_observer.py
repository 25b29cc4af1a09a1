"""What workers tell of providers' limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from scheduler.domain.capacity import Period
from scheduler.domain.errors import Unavailable
from scheduler.domain.observation import CallsEnded, LearnedLimits, Observation
from scheduler.domain.outcome import AttemptEnd, Failed, LimitHit, Retry, Succeeded, Usage
from scheduler.domain.rates import Dimension, RateReport, ReportedLimit
from scheduler.domain.setup import Provider
from scheduler.ports.learned import LearnedModel
from scheduler.providers.addresses import address_of
from scheduler.providers.call import Account, Departure
from scheduler.providers.profiles import PROFILES
from scheduler.services.budgets.observer import AT_ONCE, Observed, Observer

CONNECTION = UUID(int=1)
BASE = {"baseUrl": "http://127.0.0.1:1/v1"}
ACCOUNT = Account(
    CONNECTION, "c", Provider.OPENAI, address_of(Provider.OPENAI_COMPATIBLE, BASE), {}, PROFILES["openai"]
)
OWN = replace(ACCOUNT, profile=PROFILES["vllm"])


class FakeEngine:
    """Remembers what it is told; everything is news to it."""

    def __init__(self) -> None:
        self.told: list[tuple[int, Observation]] = []
        self.calls = 0
        self.away = False

    async def observe(self, shard: int, observations: Sequence[Observation]) -> Sequence[LearnedLimits]:
        if self.away:
            raise Unavailable("away")
        self.calls += 1
        self.told += [(shard, each) for each in observations]
        return [LearnedLimits(each.budget_id, each.limits, None) for each in observations]


class FakeStore:
    """Remembers what it is told, or is away."""

    def __init__(self) -> None:
        self.kept: list[LearnedModel] = []
        self.away = False

    async def learn_limits(self, learned: Sequence[LearnedModel]) -> None:
        if self.away:
            raise Unavailable("away")
        self.kept += learned

    async def learned_limits(self, connection_ids: Sequence[UUID]) -> Sequence[LearnedModel]:
        return [each for each in self.kept if each.connection_id in connection_ids]


def answered(remaining: int | None = None, tokens: int | None = 5) -> Succeeded:
    """A good answer, with a rate header if it says what remains."""
    limit = ReportedLimit(Dimension.REQUESTS, Period.MINUTE, 100, remaining, 1_000)
    return Succeeded(b"{}", {}, Usage(3, tokens), RateReport((limit,)) if remaining is not None else None)


def left(sent_s: float | None) -> Departure:
    departure = Departure(1e9)
    departure.sent_s = sent_s
    return departure


def observer() -> tuple[Observer, FakeEngine, FakeStore]:
    engine, store = FakeEngine(), FakeStore()
    return Observer(cast(Any, engine), store, lambda: 100.0), engine, store


async def test_of_many_answers_the_one_that_left_last_is_told() -> None:
    seeing, engine, _ = observer()
    for sent_s, remaining in ((98.0, 90), (99.0, 80), (97.0, 95)):
        seeing.saw(3, ACCOUNT, "m", left(sent_s), answered(remaining), 99.9)
    assert await seeing.run_once() == Observed(told=1, learned=1)
    [(shard, told)] = engine.told
    assert shard == 3
    assert told.uses[0].used == 20
    assert told.age_ms == 900, "a moment after it left"
    assert await seeing.run_once() == Observed()


async def test_what_never_left_or_says_nothing_is_ignored() -> None:
    seeing, engine, _ = observer()
    seeing.saw(3, ACCOUNT, "m", left(None), answered(1), 99.0)
    seeing.saw(3, ACCOUNT, "m", left(98.0), answered(), 99.0)
    await seeing.run_once()
    assert engine.told == []


async def test_refusals_are_reports_too() -> None:
    seeing, engine, _ = observer()
    seeing.saw(3, ACCOUNT, "m", left(99.0), LimitHit(100, "429", answered(0).rates), 99.1)
    await seeing.run_once()
    assert engine.told[0][1].uses[0].used == 100


async def test_where_nothing_limits_calls_are_counted() -> None:
    seeing, engine, _ = observer()
    ends: Sequence[AttemptEnd] = (
        answered(tokens=30),
        answered(tokens=None),
        Retry("500", "PROVIDER_500"),
        LimitHit(0, "429"),
        Failed("400", "BAD"),
    )
    for end in ends:
        seeing.saw(3, OWN, "m", left(99.0), end, 99.5)
    await seeing.run_once()
    assert engine.told[0][1].calls == CallsEnded(2, 2, 1_000, 31, engine.told[0][1].calls.most_places)  # type: ignore[union-attr]
    assert engine.told[0][1].limits == ()


async def test_models_are_told_apart_and_in_bounded_calls() -> None:
    seeing, engine, _ = observer()
    for number in range(AT_ONCE + 1):
        seeing.saw(3, ACCOUNT, f"m{number}", left(99.0), answered(1), 99.1)
    seeing.saw(4, ACCOUNT, "m", left(99.0), answered(1), 99.1)
    assert (await seeing.run_once()).told == AT_ONCE + 2
    assert engine.calls == 3
    assert len({each.budget_id for _, each in engine.told}) == AT_ONCE + 2


async def test_what_an_absent_engine_misses_is_not_told_later() -> None:
    seeing, engine, _ = observer()
    engine.away = True
    seeing.saw(3, ACCOUNT, "m", left(99.0), answered(1), 99.1)
    assert await seeing.run_once() == Observed()
    engine.away = False
    assert await seeing.run_once() == Observed()
    assert engine.told == []


async def test_news_are_kept_until_postgres_has_them() -> None:
    seeing, _, store = observer()
    seeing.saw(3, ACCOUNT, "m", left(99.0), answered(1), 99.1)
    await seeing.run_once()
    store.away = True
    assert await seeing.keep_once() == 0
    store.away = False
    assert await seeing.keep_once() == 1
    [kept] = store.kept
    assert (kept.connection_id, kept.model, kept.limits[0].requests) == (CONNECTION, "m", 100)
    assert await seeing.keep_once() == 0
