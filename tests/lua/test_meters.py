"""Limits that count the input or the output of calls only."""

from scheduler.domain.work import Entry, FlowDefinition, Limit, Meter, Settlement
from tests.lua.conftest import SHARD, Bench, flow_of

APART = (
    Limit("MINUTE", None, 1_000, meter=Meter.INPUT),
    Limit("MINUTE", None, 300, meter=Meter.OUTPUT),
)


async def push(bench: Bench, number: int, count: int, in_tokens: int, out_tokens: int) -> None:
    entries = [Entry(i, 1, in_tokens, out_tokens) for i in range(1, count + 1)]
    definition = FlowDefinition(flow_of(number), 1, 4.0, (), count)
    assert await bench.engine.push(SHARD, definition, 1, 0, count, entries)


async def used(bench: Bench) -> dict[Meter, int]:
    report = (await bench.engine.headroom(SHARD, ["c"]))["c"]
    return {limit.meter: limit.tokens_used for limit in report.limits}


async def test_the_limit_that_is_reached_first_binds_whichever_tokens_it_counts(bench: Bench) -> None:
    await bench.limit("c", *APART)
    await bench.queue()
    await push(bench, 1, 20, in_tokens=10, out_tokens=50)
    assert len((await bench.claim()).leases) == 6  # 300 / 50
    assert await used(bench) == {Meter.INPUT: 60, Meter.OUTPUT: 300}
    await bench.after(61_000)
    await push(bench, 2, 20, in_tokens=400, out_tokens=1)
    taken = (await bench.claim()).leases
    assert sum(lease.entry.in_tokens for lease in taken) <= 1_000
    assert sum(lease.entry.out_tokens for lease in taken) <= 300


async def test_what_an_answer_did_not_need_is_given_back_to_the_limit_that_counted_it(bench: Bench) -> None:
    await bench.limit("c", *APART)
    await bench.queue()
    await push(bench, 1, 12, in_tokens=10, out_tokens=50)
    first = (await bench.claim()).leases
    await bench.engine.settle(SHARD, [Settlement(lease.ref, 30, 10, 0) for lease in first])
    assert await used(bench) == {Meter.INPUT: 180, Meter.OUTPUT: 60}
    assert len((await bench.claim()).leases) == 4  # (300 - 60) / 50


async def test_an_entry_whose_output_exceeds_its_limit_can_never_fit(bench: Bench) -> None:
    await bench.limit("c", *APART)
    await bench.queue()
    await push(bench, 1, 1, in_tokens=1, out_tokens=301)
    assert [lease.exceeds for lease in (await bench.claim()).leases] == ["c"]
