"""Which shard is claimed from next."""

from __future__ import annotations

import asyncio
import time

from workers.wakes import Wakes


class FakeBell:
    """Tokens as the engine keeps them: a queue that `wait` pops from."""

    def __init__(self) -> None:
        self.tokens: asyncio.Queue[int] = asyncio.Queue()

    async def wait(self, timeout_s: float) -> int | None:
        try:
            async with asyncio.timeout(min(timeout_s, 0.02)):
                return await self.tokens.get()
        except TimeoutError:
            return None

    async def hand_on(self, shard: int) -> None:
        await self.tokens.put(shard)


def wakes(bell: FakeBell, safety_poll_s: float = 60.0, live: tuple[int, ...] = ()) -> Wakes:
    return Wakes(bell, lambda: live, safety_poll_s, time.monotonic)


async def test_a_token_makes_its_shard_due() -> None:
    bell, stop, room = FakeBell(), asyncio.Event(), asyncio.Event()
    room.set()
    due = wakes(bell)
    listening = asyncio.create_task(due.listen(room, stop))
    await bell.tokens.put(5)
    assert await due.next(stop) == 5
    stop.set()
    await listening


async def test_no_token_is_popped_without_room() -> None:
    bell, stop, room = FakeBell(), asyncio.Event(), asyncio.Event()
    due = wakes(bell)
    listening = asyncio.create_task(due.listen(room, stop))
    await bell.tokens.put(5)
    for _ in range(5):
        await asyncio.sleep(0)
    assert bell.tokens.qsize() == 1
    room.set()
    assert await due.next(stop) == 5
    stop.set()
    await listening


async def test_what_is_due_is_handed_on_when_there_is_no_slot() -> None:
    bell = FakeBell()
    due = wakes(bell)
    due.now(3)
    due.now(3)
    due.now(4)
    await due.hand_on_due()
    assert [bell.tokens.get_nowait(), bell.tokens.get_nowait()] == [3, 4]


async def test_a_timer_comes_due_and_the_earlier_of_two_counts() -> None:
    due, stop = wakes(FakeBell()), asyncio.Event()
    due.after(7, 60_000)
    due.after(7, 10)
    started = time.monotonic()
    assert await due.next(stop) == 7
    assert time.monotonic() - started >= 0.009


async def test_a_claim_voids_the_timer_of_its_shard() -> None:
    due, stop = wakes(FakeBell()), asyncio.Event()
    due.after(7, 0)
    due.claimed(7)
    due.after(8, 1)
    assert await due.next(stop) == 8


async def test_the_safety_poll_goes_round_the_live_shards() -> None:
    due, stop = wakes(FakeBell(), safety_poll_s=0.001, live=tuple(range(6))), asyncio.Event()
    seen = {await due.next(stop) for _ in range(12)}
    assert seen == set(range(6))


async def test_it_ends_when_the_process_stops() -> None:
    due, stop = wakes(FakeBell()), asyncio.Event()
    waiting = asyncio.create_task(due.next(stop))
    await asyncio.sleep(0)
    stop.set()
    due.interrupt()
    assert await waiting is None
