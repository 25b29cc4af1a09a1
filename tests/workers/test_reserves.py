"""What is reserved for the calls of a claim is corrected where much more or less is likely by now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.domain.output_length import OutputGuess
from scheduler.domain.status import BatchStatus
from scheduler.domain.work import Entry, Fence, FlowRef, Lease, LeaseRef, QueueRef
from scheduler.ports.engine import Engine
from scheduler.ports.items import LoadedItem
from workers.holdings import Held
from workers.reserves import Reserves

BATCH, RESOURCE = UUID(int=1), UUID(int=2)
FLOW = FlowRef(QueueRef("w", "e", str(RESOURCE)), str(BATCH))


class FakeEngine:
    def __init__(self) -> None:
        self.amended: list[tuple[int, int]] = []
        self.away = False

    async def amend(self, shard: int, leases: Sequence[tuple[LeaseRef, int]]) -> frozenset[LeaseRef]:
        if self.away:
            raise Unavailable("away")
        assert (shard, len(leases) <= 128) == (3, True)
        self.amended += [(ref.position, tokens) for ref, tokens in leases]
        return frozenset()


def claimed(position: int, out_tokens: int, guess: OutputGuess | None) -> tuple[Held, LoadedItem]:
    entry = Entry(position, 1, 10, out_tokens)
    held = Held(3, Lease(LeaseRef(FLOW, position, Fence(1, position)), entry, 0), 0.0, 10.0, 0.15, "connection-c")
    now = datetime(2026, 11, 22, tzinfo=UTC)
    item = LoadedItem(
        batch_id=BATCH,
        seq=position,
        run=1,
        current_run=1,
        finished=False,
        batch_status=BatchStatus.RUNNING,
        deadline=now,
        wants_item_callbacks=False,
        resource_id=RESOURCE,
        endpoint="/v1/chat/completions",
        request=b"{}",
        out_tokens=16,
        guess=guess,
    )
    return held, item


async def correct(engine: FakeEngine, likely: int | None, *given: tuple[Held, LoadedItem]) -> list[tuple[int, int]]:
    asked: list[tuple[UUID, UUID]] = []

    def known(resource_id: UUID, batch_id: UUID) -> int | None:
        asked.append((resource_id, batch_id))
        return likely

    reserves = Reserves(cast(Engine, engine), known)
    reserves.correct(3, given)
    await asyncio.gather(*reserves._amending)
    assert asked in ([], [(RESOURCE, BATCH)]), "once a flow"
    return engine.amended


async def test_guesses_that_are_far_off_are_corrected_and_what_a_request_says_is_not() -> None:
    given = [
        claimed(1, 16, OutputGuess()),
        claimed(2, 450, OutputGuess()),
        claimed(3, 4_000, OutputGuess()),
        claimed(4, 16, None),
        claimed(5, 16, OutputGuess(copies=3)),
        claimed(6, 16, OutputGuess(most_tokens=100)),
        claimed(7, 90, OutputGuess(most_tokens=100)),
    ]
    assert await correct(FakeEngine(), 500, *given) == [(1, 500), (3, 500), (5, 1_500), (6, 100)]
    assert [held.lease.entry.out_tokens for held, _ in given] == [500, 450, 500, 16, 1_500, 100, 90]


async def test_nothing_is_done_while_nothing_is_known() -> None:
    assert await correct(FakeEngine(), None, claimed(1, 16, OutputGuess())) == []


async def test_a_large_claim_goes_in_parts() -> None:
    given = [claimed(position, 16, OutputGuess()) for position in range(1, 301)]
    assert len(await correct(FakeEngine(), 500, *given)) == 300


@pytest.mark.filterwarnings("error")
async def test_redis_away_stops_no_call() -> None:
    engine = FakeEngine()
    engine.away = True
    assert await correct(engine, 500, claimed(1, 16, OutputGuess())) == []
