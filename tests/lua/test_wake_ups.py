"""What waits goes on as soon as what kept it is gone: nobody sleeps out a wait that is over."""

import pytest

from scheduler.domain.work import BudgetDefinition, Entry, FlowDefinition, Limit, Refund, Release
from tests.lua.conftest import SHARD, Bench, flow_of, minute


async def claimed_later(bench: Bench, *delays_ms: int) -> int:
    """Leases of claims at once and after each delay."""
    found = len((await bench.claim()).leases)
    for delay_ms in delays_ms:
        await bench.after(delay_ms)
        found += len((await bench.claim()).leases)
    return found


async def test_those_behind_a_flow_that_held_its_place_go_on_when_it_is_cancelled(bench: Bench) -> None:
    await bench.limit("c")
    await bench.limit("key-1", Limit("DAY", None, 100))
    await bench.queue()
    await bench.push(1, 1, tokens=50, budgets=["key-1"])
    await bench.push(3, 2, tokens=20, budgets=["key-1"])
    assert len((await bench.claim(slots=2)).leases) == 2
    await bench.push(2, 1, tokens=90, budgets=["key-1"])
    assert (await bench.claim()).leases == ()
    await bench.engine.cancel(SHARD, flow_of(2), 2)
    assert await claimed_later(bench, 30) == 1


async def test_those_behind_a_queue_that_held_its_place_go_on_when_its_batch_is_cancelled(bench: Bench) -> None:
    await bench.limit("c", Limit("DAY", None, 100))
    for number in (1, 2, 3):
        await bench.queue(number)
    await bench.push(1, 1, queue=1, tokens=50)
    await bench.push(3, 2, queue=3, tokens=20, end=2)
    assert len((await bench.claim(slots=2)).leases) == 2
    await bench.push(2, 1, queue=2, tokens=90)
    assert (await bench.claim()).leases == ()
    await bench.engine.cancel(SHARD, flow_of(2, 2), 2)
    assert await claimed_later(bench, 30) == 1


@pytest.mark.parametrize("resumed", [True, False])
async def test_an_entry_on_its_fallback_goes_on_when_that_admits_again(bench: Bench, resumed: bool) -> None:
    await bench.limit("c")
    await bench.limit("d", *([] if resumed else [Limit("DAY", 0, None)]))
    await bench.queue(targets=("c", "d"))
    await bench.push(1, 1)
    (lease,) = (await bench.claim()).leases
    if resumed:
        await bench.engine.pause_budget(SHARD, "d", 3_600_000, "no credit")
    await bench.engine.release(SHARD, [Release(lease.ref, 0, True, Refund.ALL, None, 1)])
    assert (await bench.claim()).leases == ()
    if resumed:
        await bench.engine.resume_budget(SHARD, "d")
    else:
        await bench.limit("d")
    assert await claimed_later(bench, 30_001) == 1


@pytest.mark.parametrize("told_by", ["push", "repair"])
async def test_a_flow_leaves_the_budget_that_binds_it_no_more_whoever_tells_it(bench: Bench, told_by: str) -> None:
    await bench.limit("c")
    await bench.limit("batch-1", Limit("LIFETIME", 2, None))
    await bench.queue()
    await bench.push(1, 4, budgets=["batch-1"], end=8)
    assert len((await bench.claim()).leases) == 2
    free = FlowDefinition(flow_of(1), 2, 4.0, (), 8)
    entries = [Entry(position, 1, 10, 0) for position in range(5, 9)]
    if told_by == "push":
        assert await bench.engine.push(SHARD, free, 1, 4, 8, entries)
    else:
        assert await bench.engine.repair(SHARD, free, 2, 4)
        assert await bench.engine.push(SHARD, free, 2, 4, 8, entries)
    await bench.engine.set_flow(SHARD, free)
    assert await claimed_later(bench, 30) == (6 if told_by == "push" else 4)


async def test_many_flows_of_one_entry_use_a_large_limit(bench: Bench) -> None:
    flows = 1_200
    await bench.limit("c")
    await bench.limit("key-1", minute(requests=0))
    await bench.queue()
    for number in range(1, flows + 1):
        await bench.push(number, 1, budgets=["key-1"])
    while (await bench.claim(slots=128)).next_due_ms == 0:
        pass
    await bench.limit("key-1", minute(requests=60_000))
    started, until_ms = 0, bench.now_ms + 1_000
    while bench.now_ms < until_ms and started < flows:
        claimed = await bench.claim(slots=128)
        started += len(claimed.leases)
        await bench.settle(claimed.leases)
        if claimed.next_due_ms:
            await bench.after(25)
    assert started == flows


async def test_limits_that_are_sent_again_look_at_nobody(bench: Bench) -> None:
    definitions = [BudgetDefinition(f"key-{number}", 1, (minute(requests=0),)) for number in range(100)]
    await bench.limit("c")
    await bench.engine.set_limits(SHARD, definitions)
    await bench.queue()
    for number in range(100):
        await bench.push(number, 1, budgets=[f"key-{number}"])
    while (await bench.claim(slots=128)).next_due_ms == 0:
        pass
    await bench.redis.config_resetstat()
    await bench.engine.set_limits(SHARD, definitions)
    stats = await bench.redis.info("commandstats")
    assert "cmdstat_zrange" not in stats, "no waiters were read"
