"""What a worker learns from answers."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.domain.output_length import LEAST_SEEN
from scheduler.ports.learned import LearnedOutput
from scheduler.providers.profile import Profile
from scheduler.providers.profiles import PROFILES
from workers import learner as learner_module
from workers.learner import Learned, Learner

RESOURCE = UUID(int=1)
BATCH = UUID(int=2)
PLAIN = b'{"messages":[]}'


class FakeStore:
    """Remembers what it is told, or is away."""

    def __init__(self) -> None:
        self.told: list[LearnedOutput] = []
        self.away = False

    async def learn_outputs(self, learned: Sequence[LearnedOutput]) -> None:
        if self.away:
            raise Unavailable("away")
        self.told += learned


def see(
    learner: Learner,
    times: int = LEAST_SEEN,
    request: bytes = PLAIN,
    profile: Profile = PROFILES["openai"],
    batch: UUID = BATCH,
    tokens: int = 100,
) -> None:
    for _ in range(times):
        learner.saw(RESOURCE, batch, profile, request, {}, tokens)


async def test_what_is_known_well_enough_is_told_once() -> None:
    store = FakeStore()
    learner = Learner(store)
    see(learner, LEAST_SEEN - 1)
    assert (await learner.run_once()).resources == 0
    see(learner, 1)
    assert (await learner.run_once()).resources == 1
    assert (await learner.run_once()).resources == 0
    of_resource, of_batch = store.told
    assert (of_resource.resource_id, of_resource.batch_id, of_resource.seen) == (RESOURCE, None, LEAST_SEEN)
    assert (of_batch.resource_id, of_batch.batch_id, of_batch.seen) == (RESOURCE, BATCH, LEAST_SEEN)
    assert 100 <= of_resource.quantile_tokens == of_batch.quantile_tokens <= 110


async def test_each_batch_is_known_for_itself_once_enough_of_it_was_seen() -> None:
    store = FakeStore()
    learner = Learner(store)
    long, short, few = UUID(int=3), UUID(int=4), UUID(int=5)
    see(learner, batch=long, tokens=1_000)
    see(learner, batch=short, tokens=10)
    see(learner, LEAST_SEEN - 1, batch=few, tokens=5_000)
    assert await learner.run_once() == Learned(resources=1, batches=2)
    told = {each.batch_id: each.quantile_tokens for each in store.told}
    assert told.keys() == {None, long, short}
    assert [learner.likely(RESOURCE, batch) for batch in (long, short, few)] == [told[long], told[short], None]
    assert told[short] <= 11
    assert told[long] >= 1_000


async def test_small_batches_do_not_crowd_out_what_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_module, "BATCHES", 3)
    store = FakeStore()
    learner = Learner(store)
    for number in range(10, 50):
        see(learner, 1, batch=UUID(int=number))
    see(learner)
    assert await learner.run_once() == Learned(resources=1, batches=1)


async def test_nothing_is_forgotten_while_postgres_is_away() -> None:
    store = FakeStore()
    learner = Learner(store)
    see(learner)
    store.away = True
    assert (await learner.run_once()).resources == 0
    see(learner, 3)
    store.away = False
    await learner.run_once()
    assert [each.seen for each in store.told] == [LEAST_SEEN + 3, LEAST_SEEN + 3]


async def test_cut_and_multiple_answers_teach_nothing() -> None:
    store = FakeStore()
    learner = Learner(store)
    see(learner, request=b'{"max_tokens":100}')
    see(learner, request=b'{"n":2}')
    learner.saw(RESOURCE, BATCH, PROFILES["openai"], PLAIN, {"max_tokens": b"9"}, 9)
    learner.saw(RESOURCE, BATCH, PROFILES["openai"], PLAIN, {}, None)
    learner.saw(RESOURCE, BATCH, PROFILES["openai"], PLAIN, {}, 0)
    await learner.run_once()
    assert store.told == []


async def test_answers_with_a_limit_teach_where_use_is_charged() -> None:
    store = FakeStore()
    learner = Learner(store)
    see(learner, request=b'{"max_tokens":4000}', profile=PROFILES["anthropic"])
    assert await learner.run_once() == Learned(resources=1, batches=1)
