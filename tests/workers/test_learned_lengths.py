"""Items that set no limit are reserved by what the answers of their own batch need, through real stores and calls."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from scheduler.bootstrap import open_core
from scheduler.domain.batch import BatchChange
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.output_length import LEAST_SEEN, OutputGuess
from scheduler.domain.work import Claimed, LeaseRef
from scheduler.ports.learned import LearnedOutput, LearnedOutputStore
from scheduler.services.batches.control_state import tell_control_state
from scheduler.settings import Settings
from tests.polling import eventually
from tests.workers.provider import FakeProvider, Seen, answer
from tests.workers.world import World
from workers import learner as learner_module
from workers import pipeline
from workers.learner import Learner

WINDOW = 100
ITEMS = 500
DEFAULT = 10
LENGTHS = {"long": 10 * DEFAULT, "short": 2}


class Answers:
    """Answers as long as each batch's are; holds the calls once enough of every batch is answered."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self._given: dict[str, int] = dict.fromkeys(LENGTHS, 0)
        provider.reply = self.reply

    def reply(self, seen: Seen) -> tuple[int, dict[str, str], Any]:
        """One answer."""
        kind = seen.text.split()[0]
        self._given[kind] += 1
        if self._provider.hold is None and min(self._given.values()) >= LEAST_SEEN:
            self._provider.hold = asyncio.Event()
        status, headers, body = answer(seen)
        return status, headers, body | {"usage": {"prompt_tokens": 3, "completion_tokens": LENGTHS[kind]}}


async def test_a_limit_that_falls_below_a_reserve_that_rose_fails_no_item_that_fits(
    world: World, provider: FakeProvider
) -> None:
    """An item fails only if what it was accepted with fits no more, not for a guess that came later."""
    resource = await world.resource(await world.connection(provider.base_url))
    await world.core.store.setup.learn_outputs([LearnedOutput(resource.resource_id, 4_000, LEAST_SEEN)])
    wide = (Capacity(Period.MINUTE, tokens=5_000),)
    fits, large = [
        await world.submit(resource, [f"{tokens}"], tokens=tokens, guess=OutputGuess(), capacity=wide)
        for tokens in (500, 1_500)
    ]
    store, engine, shard = world.core.store, world.core.engine, await world.shard()
    for batch in (fits, large):
        narrow = BatchChange(capacity=(Capacity(Period.MINUTE, tokens=2_000),))
        after = await store.batches.change(world.environment_id, batch.batch_id, narrow)
        assert after is not None
        await tell_control_state(store, engine, shard, after, await store.batches.flows(batch.batch_id))
    async with world.worker():
        assert (await world.ended(fits)).completed == 1
        assert (await world.ended(large)).failed == 1
    assert [item.error_code for item in await world.items(large)] == ["ITEM_EXCEEDS_CAPACITY"]
    assert [seen.text for seen in provider.seen] == ["500"]


@pytest.mark.parametrize("told", [True, False], ids=["by Postgres", "by its own memory"])
async def test_a_batch_is_reserved_by_its_own_answers_beside_another_on_its_resource(
    told: bool,
    world: World,
    make_settings: Callable[..., Settings],
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learner_module, "INTERVAL_S", 0.05 if told else 3_600.0)
    learners: list[Learner] = []

    def learner_on(store: LearnedOutputStore) -> Learner:
        learners.append(Learner(store))
        return learners[-1]

    monkeypatch.setattr(pipeline, "Learner", learner_on)
    Answers(provider)
    limit = (Capacity(Period.MINUTE, tokens=10_000_000),)
    resource = await world.resource(await world.connection(provider.base_url, capacity=limit))
    reserves: dict[UUID, dict[int, int]] = defaultdict(dict)
    amended: dict[UUID, dict[int, int]] = defaultdict(dict)

    async with open_core(make_settings(window_entries=WINDOW, worker_concurrency=20)) as core:
        claim = core.engine.claim

        async def claim_and_note(*args: Any, **options: Any) -> Claimed:
            claimed = await claim(*args, **options)
            for lease in claimed.leases:
                reserves[UUID(lease.ref.flow.batch_id)][lease.entry.position] = lease.entry.out_tokens
            return claimed

        amend = core.engine.amend

        async def amend_and_note(shard: int, leases: Sequence[tuple[LeaseRef, int]]) -> frozenset[LeaseRef]:
            for ref, tokens in leases:
                amended[UUID(ref.flow.batch_id)][ref.position] = tokens
            return await amend(shard, leases)

        monkeypatch.setattr(core.engine, "claim", claim_and_note)
        monkeypatch.setattr(core.engine, "amend", amend_and_note)
        near = World(core, world.workspace_id, world.environment_id)
        batches = {
            kind: await near.submit(
                resource, [f"{kind} {i}" for i in range(ITEMS)], tokens=DEFAULT, guess=OutputGuess()
            )
            for kind in LENGTHS
        }

        async def both_are_known() -> bool:
            if not told:
                ids = [batch.batch_id for batch in batches.values()]
                return bool(learners) and all(learners[0].likely(resource.resource_id, each) for each in ids)
            rows = await asyncio.gather(
                *(
                    core.store.items.window(batch.batch_id, resource.resource_id, after_seq=ITEMS - 1, limit=1)
                    for batch in batches.values()
                )
            )
            return len({entries[0].out_tokens for _, entries in rows}) == len(batches)

        async with near.worker():
            await eventually(both_are_known, "a length of each batch")
            assert provider.hold is not None
            provider.hold.set()
            for batch in batches.values():
                assert (await near.ended(batch)).completed == ITEMS

    long, short = (reserves[batches[kind].batch_id] for kind in ("long", "short"))
    # What lay in the windows kept its first estimate, until it was claimed; all that came from Postgres after has the
    # batch's own.
    assert {each[position] for each in (long, short) for position in range(1, WINDOW + 1)} == {DEFAULT}
    later = range(3 * WINDOW, ITEMS + 1)
    assert all(LENGTHS["long"] <= long[position] <= 1.1 * LENGTHS["long"] for position in later)
    assert {short[position] for position in later} == {LENGTHS["short"]}
    for kind, length in LENGTHS.items():
        corrected = amended[batches[kind].batch_id]
        assert WINDOW in corrected
        assert all(length <= tokens <= 1.1 * length for tokens in corrected.values())
        assert not corrected.keys() & set(later)
