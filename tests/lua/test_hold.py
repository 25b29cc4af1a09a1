"""An entry that is larger than what is left holds its place: smaller ones pass it only where they do not delay it."""

from scheduler.domain.work import Claimed, Entry, FlowDefinition, Limit
from tests.lua.conftest import SHARD, START_MS, Bench, flow_of

HOUR_MS = 3_600_000


async def push_sizes(bench: Bench, number: int, sizes: list[int], queue: int = 1) -> None:
    entries = [Entry(i, 1, tokens, 0) for i, tokens in enumerate(sizes, 1)]
    definition = FlowDefinition(flow_of(number, queue), 1, 4.0, (), len(sizes))
    assert await bench.engine.push(SHARD, definition, 1, 0, len(sizes), entries)


async def run_for(bench: Bench, ms: int) -> list[tuple[int, str, int]]:
    """Claim as a worker does, settling at once: (when, batch, tokens) of every lease."""
    until, started = bench.now_ms + ms, []
    while bench.now_ms < until:
        claimed: Claimed = await bench.claim()
        started += [(bench.now_ms, x.ref.flow.batch_id, x.entry.in_tokens) for x in claimed.leases]
        await bench.settle(claimed.leases)
        wait_ms = claimed.next_due_ms if claimed.next_due_ms is not None else ms
        await bench.at(min(until, bench.now_ms + max(1, wait_ms)))
    return started


async def test_what_waits_for_the_end_of_an_hour_leaves_the_hour_to_smaller_ones(bench: Bench) -> None:
    await bench.at(START_MS - START_MS % HOUR_MS + 1)
    await bench.limit("c", Limit("HOUR", None, 1_000))
    for queue in (1, 2):
        await bench.queue(queue)
    await push_sizes(bench, 1, [500, 600, 50, 50, 50])
    await push_sizes(bench, 2, [50, 50])
    await push_sizes(bench, 3, [50, 50, 50, 50, 50], queue=2)
    started = await run_for(bench, 60_000)
    assert sorted(tokens for _, _, tokens in started) == [50] * 10 + [500]
    later = await run_for(bench, HOUR_MS)
    assert [tokens for _, _, tokens in later] == [600]


async def test_smaller_entries_do_not_delay_the_one_that_they_pass(bench: Bench) -> None:
    await bench.limit("c", Limit("MINUTE", None, 10_000))
    await bench.queue()
    await push_sizes(bench, 1, [4_000, 3_000, 5_000])
    alone = await run_for(bench, 120_000)
    started_alone_ms = next(at for at, _, tokens in alone if tokens == 5_000) - START_MS

    await bench.redis.flushdb()
    await bench.at(START_MS)
    await bench.engine.open_shard(SHARD, 1)
    await bench.limit("c", Limit("MINUTE", None, 10_000))
    for queue in (2, 3):
        await bench.queue(queue)
    await push_sizes(bench, 1, [4_000, 3_000, 5_000, 400, 400, 400, 400, 400, 400, 400, 400, 400], queue=2)
    await push_sizes(bench, 2, [300] * 12, queue=2)
    await push_sizes(bench, 3, [300] * 12, queue=3)
    started = await run_for(bench, 240_000)
    large_ms = next(at for at, _, tokens in started if tokens == 5_000) - START_MS
    before = [tokens for at, _, tokens in started if tokens < 1_000 and at - START_MS < large_ms]
    assert large_ms <= started_alone_ms
    assert len(before) >= 5
    assert len(started) == 36
