"""amend: what was reserved for an answer follows what is likely now, while the call is under way."""

from __future__ import annotations

import heapq

import pytest

from scheduler.domain.work import Entry, FlowDefinition, Lease, Limit, Refund, Release, Settlement
from tests.lua.conftest import SHARD, Bench, flow_of, minute

LATENCY_MS = 5_000
LIMIT = 60_000
IN_TOKENS = 10


async def push(bench: Bench, count: int, out_tokens: int) -> None:
    entries = [Entry(i, 1, IN_TOKENS, out_tokens) for i in range(1, count + 1)]
    assert await bench.engine.push(SHARD, FlowDefinition(flow_of(1), 1, 4.0, (), count), 1, 0, count, entries)


async def used(bench: Bench) -> int:
    return (await bench.engine.headroom(SHARD, ["c"]))["c"].limits[0].tokens_used


async def test_less_frees_what_others_wait_for_at_once(bench: Bench) -> None:
    await bench.limit("c", minute(tokens=1_000))
    await bench.queue()
    await push(bench, 20, 490)
    first = await bench.claim(holder="w1")
    assert (len(first.leases), await used(bench)) == (2, 1_000)
    assert await bench.engine.amend(SHARD, [(lease.ref, 40) for lease in first.leases]) == frozenset()
    assert await used(bench) == 100
    assert len((await bench.claim(holder="w1")).leases) == 1  # the next two would be 1,100
    await bench.settle(first.leases)  # charged what their entries said
    assert await used(bench) == 1_500


async def test_more_is_booked_now_and_given_back_when_the_answer_is_shorter(bench: Bench) -> None:
    await bench.limit("c", minute(tokens=1_000))
    await bench.queue()
    await push(bench, 20, 40)
    claimed = await bench.claim(slots=2)
    await bench.engine.amend(SHARD, [(lease.ref, 490) for lease in claimed.leases])
    assert await used(bench) == 1_000
    assert (await bench.claim()).leases == ()
    await bench.engine.settle(SHARD, [Settlement(lease.ref, IN_TOKENS, 90, 0) for lease in claimed.leases])
    assert await used(bench) == 200
    assert len((await bench.claim(slots=4)).leases) == 4


async def test_what_comes_back_is_reserved_as_it_was_amended(bench: Bench) -> None:
    await bench.limit("c", minute(tokens=1_000))
    await bench.queue()
    await push(bench, 1, 40)
    (lease,) = (await bench.claim()).leases
    await bench.engine.amend(SHARD, [(lease.ref, 90)])
    await bench.engine.release(SHARD, [Release(lease.ref, 0, False, Refund.ALL, None)])
    assert await used(bench) == 0
    (again,) = (await bench.claim()).leases
    assert (again.entry, await used(bench)) == (lease.entry._replace(out_tokens=90), 100)


async def test_a_lost_lease_is_left_alone(bench: Bench) -> None:
    await bench.limit("c", minute(tokens=1_000))
    await bench.queue()
    await push(bench, 2, 40)
    first, second = (await bench.claim()).leases
    await bench.settle([first])
    assert await bench.engine.amend(SHARD, [(first.ref, 90), (second.ref, 90)]) == {first.ref}
    assert await used(bench) == 50 + 100


@pytest.mark.parametrize(("guess", "needed"), [(4_000, 100), (16, 500)])
async def test_a_window_full_of_old_guesses_holds_its_limit_to_the_brim(bench: Bench, guess: int, needed: int) -> None:
    """Three minutes of a backlog, the last of which counts; the first answers teach what is likely."""
    await bench.limit("c", Limit("MINUTE", None, LIMIT, pace=0.992, burst_ms=1_000))
    await bench.queue()
    await push(bench, 2_000, guess)
    start_ms, answered = bench.now_ms, 0
    under_way: list[tuple[int, int, Lease]] = []
    sent: list[int] = []
    claim_ms = start_ms
    while bench.now_ms < start_ms + 180_000:
        ended: list[Lease] = []
        while under_way and under_way[0][0] <= bench.now_ms:
            ended.append(heapq.heappop(under_way)[2])
        for start in range(0, len(ended), 200):
            done = [Settlement(each.ref, IN_TOKENS, needed, LATENCY_MS) for each in ended[start : start + 200]]
            await bench.engine.settle(SHARD, done)
            claim_ms = min(claim_ms, bench.now_ms + 5)
        answered += len(ended)
        if bench.now_ms >= claim_ms:
            claimed = await bench.claim(slots=100, lease_ms=60_000)
            if claimed.leases and answered >= 20:
                await bench.engine.amend(SHARD, [(lease.ref, needed) for lease in claimed.leases])
            for lease in claimed.leases:
                heapq.heappush(under_way, (bench.now_ms + LATENCY_MS, len(sent), lease))
                sent.append(bench.now_ms)
            claim_ms = bench.now_ms + max(25, claimed.next_due_ms or 0)
        await bench.at(max(bench.now_ms + 1, min(claim_ms, under_way[0][0] if under_way else claim_ms)))
    last = sum(IN_TOKENS + needed for sent_ms in sent if sent_ms >= start_ms + 120_000)
    assert 0.75 * LIMIT <= last <= LIMIT
