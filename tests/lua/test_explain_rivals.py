"""explain beside many rivals, and beside rivals that limits of their own slow down."""

import pytest

from scheduler.domain.forecast import forecast
from scheduler.domain.supply import Binding
from scheduler.domain.work import BudgetDefinition, Limit
from tests.lua.conftest import SHARD, Bench, flow_of, minute
from tests.lua.test_explain import assert_close, forecast_of, standing_of, start_of

QUEUES = 60
FLOWS = 8
MOST_READS = 300
"""Commands of one explanation, of about 10 µs each: bounded, however many rivals there are."""
_OURS = {"evalsha", "info", "config|resetstat"}


async def test_a_place_among_many_queues_comes_true(bench: Bench) -> None:
    await bench.limit("c", minute(6_000, pace=0.992))
    for queue in range(1, QUEUES + 1):
        await bench.queue(queue)
        await bench.push(queue, count=30, queue=queue, tokens=10 if queue % 2 else 20)
    await bench.settle((await bench.claim()).leases)
    found = await forecast_of(bench, 20, number=30, queue=30)
    assert found.binding is not None
    assert found.binding.binding is Binding.REQUESTS
    assert found.first.requests > 700
    assert_close(found, await start_of(bench, 20, number=30, queue=30))


async def test_a_place_among_many_batches_comes_true(bench: Bench) -> None:
    await bench.limit("c", minute(6_000, pace=0.992))
    await bench.queue()
    for number in range(1, 101):
        await bench.push(number, count=20)
    found = await forecast_of(bench, 10, number=70)
    assert found.first.requests > 800
    assert_close(found, await start_of(bench, 10, number=70))


async def test_a_batch_with_a_limit_of_its_own_takes_no_more_than_that_allows(bench: Bench) -> None:
    await bench.limit("c", minute(600, pace=0.992))
    await bench.limit("batch-2", minute(30))
    await bench.queue()
    await bench.push(1, count=300)
    await bench.push(2, count=300, budgets=["batch-2"])
    found = await forecast_of(bench, 200)
    assert found.first.requests < 250
    assert_close(found, await start_of(bench, 200))


async def test_a_limit_of_tokens_slows_a_rival_down_by_what_its_entries_cost(bench: Bench) -> None:
    await bench.limit("c", minute(600, pace=0.992))
    await bench.limit("key-2", minute(tokens=2_000))
    await bench.queue()
    await bench.push(1, count=300, tokens=50)
    await bench.push(2, count=300, tokens=50, budgets=["key-2"])
    found = await forecast_of(bench, 200)
    assert found.first.requests < 260
    assert_close(found, await start_of(bench, 200))


@pytest.mark.parametrize("limit", [minute(60), Limit("HOUR", 40, None)], ids=lambda limit: limit.period)
async def test_a_resource_with_a_limit_of_its_own_takes_no_more_than_that_allows(bench: Bench, limit: Limit) -> None:
    await bench.limit("c", minute(600, pace=0.992))
    await bench.limit("r", limit)
    await bench.queue(1)
    await bench.queue(2, budgets=["r"])
    await bench.push(1, count=300, queue=1)
    await bench.push(2, count=150, queue=2)
    await bench.push(3, count=150, queue=2)
    found = await forecast_of(bench, 200)
    assert found.first.requests < 300
    assert_close(found, await start_of(bench, 200))


async def test_a_limit_that_the_rival_shares_with_us_is_counted_once(bench: Bench) -> None:
    await bench.limit("c", minute(6_000, pace=0.992))
    await bench.limit("key-1", minute(60))
    await bench.queue()
    await bench.push(1, count=100, budgets=["key-1"])
    await bench.push(2, count=100, budgets=["key-1"])
    assert all(rival.supply is None for rival in (await standing_of(bench)).flows)


async def test_it_reads_little_beside_crowded_queues_with_limits_of_their_own(bench: Bench) -> None:
    targets = ["c", "d", "e"]
    for each in targets:
        await bench.limit(each, Limit("MINUTE", 600, 60_000, 0.992), Limit("DAY", 100_000, None))
    await bench.limit("r", minute(60_000))
    batches = [f"batch-{number}" for number in range(1, QUEUES * FLOWS + 1)]
    own = (minute(600, 60_000), Limit("HOUR", 10_000, None))
    for start in range(0, len(batches), 64):
        chunk = batches[start : start + 64]
        await bench.engine.set_limits(SHARD, [BudgetDefinition(each, 1, own) for each in chunk])
    for number, budget in enumerate(batches, 1):
        queue = 1 + number % QUEUES
        if number <= QUEUES:
            await bench.queue(queue, targets=targets, budgets=["r"], spill=True)
        await bench.push(number, count=40, queue=queue, budgets=[budget])
    for _ in range(120):
        await bench.settle((await bench.claim()).leases)
        await bench.after(500)
    await bench.redis.config_resetstat()
    found = await bench.engine.explain(SHARD, flow_of(5, 6), 20)
    stats = await bench.redis.info("commandstats")
    reads = sum(each["calls"] for name, each in stats.items() if name.removeprefix("cmdstat_") not in _OURS)
    assert found is not None
    assert forecast(found, None).start_ms is not None
    assert reads <= MOST_READS
