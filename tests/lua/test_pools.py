"""Pools: parts of a connection for some queues, lent out while nobody asks for them."""

from __future__ import annotations

from collections import Counter

from scheduler.domain.work import QueueDefinition
from tests.lua.conftest import SHARD, Bench, flow_of, minute, queue_of

PACE = 0.992
RPM = 600
STEP_MS = 25


async def queue(bench: Bench, number: int, pool: str = "", *, min_share: float = 0.0, weight: float = 4.0) -> None:
    pools = (pool,) if pool else ()
    await bench.engine.set_queues(
        SHARD,
        [QueueDefinition(queue_of(number), 1, ("c",), (), weight, pools=pools, min_share=min_share)],
    )


async def serve(bench: Bench, seconds: int) -> Counter[int]:
    """Let time pass; answers how many entries each queue got."""
    served: Counter[int] = Counter()
    numbers = {queue_of(number).resource_id: number for number in range(1, 9)}
    for _ in range(seconds * 1000 // STEP_MS):
        while True:
            claimed = await bench.claim()
            for lease in claimed.leases:
                served[numbers[lease.ref.flow.queue.resource_id]] += 1
            await bench.settle(claimed.leases)
            if claimed.next_due_ms != 0:
                break
        await bench.after(STEP_MS)
    return served


async def test_a_pool_gets_its_smallest_share_first(bench: Bench) -> None:
    await bench.limit("c", minute(requests=RPM, pace=PACE))
    await bench.limit("pool-a", minute(requests=RPM))
    await queue(bench, 1, "pool-a", min_share=0.5)
    for number in (2, 3, 4):
        await queue(bench, number)
    for number in (1, 2, 3, 4):
        await bench.push(number, 1_900, queue=number)
    await serve(bench, 60)
    served = await serve(bench, 60)
    assert 0.48 <= served[1] / served.total() <= 0.56, served
    assert max(served[2], served[3], served[4]) - min(served[2], served[3], served[4]) <= 20
    assert served.total() >= 0.98 * RPM


async def test_pools_below_their_smallest_shares_get_them_side_by_side(bench: Bench) -> None:
    await bench.limit("c", minute(requests=RPM, pace=PACE))
    for number, min_share in ((1, 0.2), (2, 0.7)):
        await bench.limit(f"pool-{number}", minute(requests=RPM))
        await queue(bench, number, f"pool-{number}", min_share=min_share)
    for number in (1, 2):
        await bench.push(number, 600, queue=number)
    served = await serve(bench, 8)
    assert 0.18 <= served[1] / served.total() <= 0.27, served


async def test_what_a_pool_does_not_ask_for_is_lent_out_and_comes_back(bench: Bench) -> None:
    await bench.limit("c", minute(requests=RPM, pace=PACE))
    await bench.limit("pool-a", minute(requests=RPM))
    await queue(bench, 1, "pool-a", min_share=0.5)
    await queue(bench, 2)
    await bench.push(2, 1_900, queue=2)
    lent = await serve(bench, 70)
    assert lent[2] >= 0.98 * RPM, "nothing is kept for a pool without work"
    await bench.push(1, 1_900, queue=1)
    back = await serve(bench, 10)
    assert back[1] >= 0.9 * back.total() > 80, "all that becomes free is its own until it has its share"


async def test_a_pool_never_gets_more_than_its_largest_share(bench: Bench) -> None:
    await bench.limit("c", minute(requests=RPM, pace=PACE))
    await bench.limit("pool-a", minute(requests=RPM // 5))
    await queue(bench, 1, "pool-a")
    await bench.push(1, 1_900, queue=1)
    served = await serve(bench, 60)
    assert 110 <= served[1] <= RPM // 5, "also when nobody else has work"
    await queue(bench, 2)
    await bench.push(2, 1_900, queue=2)
    both = await serve(bench, 60)
    assert both[1] <= RPM // 5
    assert both.total() >= 0.97 * RPM, "whoever has room goes on"


async def test_shares_count_tokens_where_tokens_bind(bench: Bench) -> None:
    await bench.limit("c", minute(requests=100_000, tokens=60_000, pace=PACE))
    await bench.limit("pool-a", minute(requests=100_000, tokens=60_000))
    await queue(bench, 1, "pool-a", min_share=0.7)
    await queue(bench, 2)
    await bench.push(1, 1_900, queue=1, tokens=100)
    await bench.push(2, 1_900, queue=2, tokens=100)
    await serve(bench, 60)
    served = await serve(bench, 60)
    assert 0.67 <= served[1] / served.total() <= 0.75, served


async def test_a_queue_that_waits_for_its_pool_is_let_go_with_it(bench: Bench) -> None:
    await bench.limit("c", minute(requests=RPM))
    await bench.limit("pool-a", minute(requests=5))
    await queue(bench, 1, "pool-a")
    await bench.push(1, 20, queue=1)
    assert len((await bench.claim()).leases) == 5
    assert (await bench.engine.headroom(SHARD, ["pool-a"]))["pool-a"].waiting == 1
    await bench.limit("pool-a", minute(requests=9))
    assert [lease.ref.flow for lease in (await bench.claim()).leases] == [flow_of(1)] * 4


async def test_a_pool_that_is_not_defined_binds_nothing(bench: Bench) -> None:
    await bench.limit("c", minute(requests=RPM))
    await queue(bench, 1, "pool-a", min_share=0.5)
    await bench.push(1, 20, queue=1)
    assert len((await bench.claim()).leases) == 20
