"""A limit's budget is given out evenly: a burst goes once, and what the window held back is not made up for at once."""

from itertools import pairwise

import pytest

from scheduler.domain.work import Limit, Refund, Release
from tests.lua.conftest import SHARD, START_MS, Bench

PACE = 0.992


async def admitted_ms(bench: Bench, ms: int) -> list[int]:
    """When each entry is leased, in ms since the start: claimed when the engine says so, settled at once."""
    until, found = bench.now_ms + ms, []
    while bench.now_ms < until:
        claimed = await bench.claim()
        found += [bench.now_ms - START_MS] * len(claimed.leases)
        await bench.settle(claimed.leases)
        assert claimed.next_due_ms is not None
        await bench.at(min(until, bench.now_ms + max(1, claimed.next_due_ms)))
    return found


async def paced(bench: Bench, requests: int, burst_ms: int = 1_000, entries: int = 1_900) -> None:
    await bench.limit("c", Limit("MINUTE", requests, None, PACE, burst_ms))
    await bench.queue()
    for number in range(1, 1 + -(-entries // 500)):
        await bench.push(number, 500)


@pytest.mark.parametrize(
    ("requests", "burst_ms", "at_once"), [(600, 1_000, 9), (600, 250, 2), (60, 1_000, 1), (60, 2_500, 2)]
)
async def test_a_burst_goes_at_once_and_the_rest_at_the_pace(
    bench: Bench, requests: int, burst_ms: int, at_once: int
) -> None:
    await paced(bench, requests, burst_ms)
    unit_ms = 60_000 / (PACE * requests)
    times = await admitted_ms(bench, 20_000)
    assert times.count(0) == at_once
    paid_back_ms = burst_ms / 3
    assert len(times) == pytest.approx((20_000 + burst_ms - paid_back_ms) / unit_ms, abs=1.5)


async def test_a_burst_is_paid_back_within_a_minute_and_leaves_no_gap(bench: Bench) -> None:
    await paced(bench, 600)
    times = await admitted_ms(bench, 180_000)
    assert max(later - earlier for earlier, later in pairwise(times)) <= 150
    assert max(sum(start <= at < start + 60_000 for at in times) for start in times) <= 600
    for minute in (1, 2):
        started = [at for at in times if at // 60_000 == minute]
        assert len(started) == pytest.approx(600 * PACE, abs=2)


async def test_after_a_rest_there_is_a_burst_again(bench: Bench) -> None:
    await paced(bench, 600)
    await admitted_ms(bench, 90_000)
    await bench.after(2_000)
    assert len((await bench.claim()).leases) == 9


async def test_what_a_full_window_held_back_does_not_come_at_once(bench: Bench) -> None:
    await paced(bench, 600)
    await admitted_ms(bench, 58_000)
    await bench.limit("c", Limit("MINUTE", 500, None, PACE, 1_000))
    times = await admitted_ms(bench, 30_000)
    assert times[0] > 60_000, "the window was over the new limit"
    assert sum(at < times[0] + 1_000 for at in times) <= 500 / 60 + 1


async def test_a_raised_limit_is_used_at_once_by_what_waited_for_its_window(bench: Bench) -> None:
    await paced(bench, 60, burst_ms=60_000)
    await admitted_ms(bench, 10_000)
    assert (await bench.claim()).leases == ()
    await bench.limit("c", Limit("MINUTE", 600, None, PACE, 1_000))
    times = await admitted_ms(bench, 10_000)
    assert len(times) == pytest.approx(10_000 * PACE / 100, abs=2)


async def test_a_call_that_was_not_sent_gives_its_pace_back(bench: Bench) -> None:
    await paced(bench, 600)
    unsent = (await bench.claim(slots=4)).leases
    await bench.claim()
    assert (await bench.claim()).leases == ()
    back = [Release(lease.ref, 0, False, Refund.ALL, None) for lease in unsent]
    await bench.engine.release(SHARD, back)
    assert len((await bench.claim()).leases) == len(unsent)
