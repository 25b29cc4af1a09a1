"""What a worker learns from answers."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from scheduler.domain.errors import Unavailable
from scheduler.domain.output_length import LEAST_SEEN
from scheduler.ports.learned import LearnedOutput
from scheduler.providers.profile import Profile
from scheduler.providers.profiles import PROFILES
from workers.learner import Learner

RESOURCE = UUID(int=1)
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
    learner: Learner, times: int = LEAST_SEEN, request: bytes = PLAIN, profile: Profile = PROFILES["openai"]
) -> None:
    for _ in range(times):
        learner.saw(RESOURCE, profile, request, {}, 100)


async def test_what_is_known_well_enough_is_told_once() -> None:
    store = FakeStore()
    learner = Learner(store)
    see(learner, LEAST_SEEN - 1)
    assert (await learner.run_once()).resources == 0
    see(learner, 1)
    assert (await learner.run_once()).resources == 1
    assert (await learner.run_once()).resources == 0
    (told,) = store.told
    assert (told.resource_id, told.seen) == (RESOURCE, LEAST_SEEN)
    assert 100 <= told.quantile_tokens <= 110


async def test_nothing_is_forgotten_while_postgres_is_away() -> None:
    store = FakeStore()
    learner = Learner(store)
    see(learner)
    store.away = True
    assert (await learner.run_once()).resources == 0
    see(learner, 3)
    store.away = False
    await learner.run_once()
    assert [each.seen for each in store.told] == [LEAST_SEEN + 3]


async def test_cut_and_multiple_answers_teach_nothing() -> None:
    store = FakeStore()
    learner = Learner(store)
    see(learner, request=b'{"max_tokens":100}')
    see(learner, request=b'{"n":2}')
    learner.saw(RESOURCE, PROFILES["openai"], PLAIN, {"max_tokens": b"9"}, 9)
    learner.saw(RESOURCE, PROFILES["openai"], PLAIN, {}, None)
    learner.saw(RESOURCE, PROFILES["openai"], PLAIN, {}, 0)
    await learner.run_once()
    assert store.told == []


async def test_answers_with_a_limit_teach_where_use_is_charged() -> None:
    store = FakeStore()
    learner = Learner(store)
    see(learner, request=b'{"max_tokens":4000}', profile=PROFILES["anthropic"])
    await learner.run_once()
    assert len(store.told) == 1
