"""What the stateful tests found, each as the fewest calls that show it."""

from scheduler.domain.work import Entry, FlowDefinition, Limit, Refund, Release, Settlement
from scheduler.engine import keys
from tests.lua.conftest import SHARD, Bench, flow_of, minute


async def used(bench: Bench, budget: str) -> list[tuple[int, int]]:
    report = (await bench.engine.headroom(SHARD, [budget]))[budget]
    return [(limit.requests_used, limit.tokens_used) for limit in report.limits]


async def test_a_push_that_ends_a_pause_makes_what_waits_claimable(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 3)
    await bench.control(1, 2, paused=True)
    assert await bench.engine.push(SHARD, FlowDefinition(flow_of(1), 3, 4.0, (), 3), 1, 3, 3, [])
    assert len((await bench.claim()).leases) == 3


async def test_a_lease_that_is_named_twice_in_one_call_ends_once(bench: Bench) -> None:
    await bench.limit("c", max_in_flight=2)
    await bench.queue()
    await bench.push(1, 4)
    one, two = (await bench.claim()).leases
    assert await bench.settle([one, one]) == 1
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].in_flight == 1
    again = Release(two.ref, 0, False, Refund.ALL, None)
    assert await bench.engine.release(SHARD, [again, again]) == {two.ref}
    assert [lease.ref.position for lease in (await bench.claim(slots=4)).leases] == [2, 3]


async def test_a_limit_that_is_added_gives_nothing_back_that_it_never_took(bench: Bench) -> None:
    await bench.limit("c", minute(requests=100))
    await bench.queue()
    await bench.push(1, 40)
    early = (await bench.claim(slots=10)).leases
    second = Limit("SECOND", 5, None)
    await bench.limit("c", minute(requests=100), second)
    await bench.engine.settle(SHARD, [Settlement(lease.ref, 10, 0, None) for lease in early])
    assert len((await bench.claim()).leases) == 5


async def test_a_limit_that_comes_back_does_not_meet_its_old_sub_buckets(bench: Bench) -> None:
    await bench.limit("c", minute(requests=10))
    await bench.queue()
    await bench.push(1, 40)
    early = (await bench.claim()).leases
    assert len(early) == 10
    await bench.after(500)
    await bench.limit("c")
    await bench.limit("c", minute(requests=10))
    fields = {field: 1 async for field, _ in bench.redis.hscan_iter(f"{keys.prefix(SHARD)}budget:c", "M:*")}
    assert list(fields) == [b"M:%d" % (bench.now_ms // 250)]
    assert len((await bench.claim()).leases) == 10
    await bench.settle(early, sent_ago_ms=500)
    await bench.after(30_000)
    assert await used(bench, "c") == [(10, 100)]


async def test_a_flow_that_holds_all_it_may_is_not_looked_at_every_millisecond(bench: Bench) -> None:
    bench.engine._window = 4
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 4, end=100)
    await bench.claim()
    await bench.push(1, 4, cursor=4, end=100)
    held = await bench.claim()
    assert (len(held.leases), held.refill) == (4, None)
    await bench.after(2001)
    assert (await bench.claim()).next_due_ms is None
    await bench.settle(held.leases)
    again = await bench.claim()
    assert again.refill is not None
    assert (again.refill.cursor, again.refill.room) == (8, 4)


async def test_a_flow_that_a_refill_finds_finished_is_forgotten(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    definition = FlowDefinition(flow_of(1), 1, 4.0, (), 4)
    await bench.engine.push(SHARD, definition, 1, 0, 2, [Entry(1, 1, 10, 0), Entry(2, 1, 10, 0)])
    await bench.settle((await bench.claim()).leases)
    assert await bench.redis.exists(keys.flow_state(SHARD, flow_of(1)))
    assert await bench.engine.push(SHARD, definition, 1, 2, 4, [])
    assert not await bench.redis.exists(keys.flow_state(SHARD, flow_of(1)))


async def test_a_refill_that_finds_nothing_leaves_a_flow_to_what_still_runs(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    definition = FlowDefinition(flow_of(1), 1, 4.0, (), 4)
    await bench.engine.push(SHARD, definition, 1, 0, 2, [Entry(1, 1, 10, 0), Entry(2, 1, 10, 0)])
    running = (await bench.claim()).leases
    assert await bench.engine.push(SHARD, definition, 1, 2, 4, [])
    assert await bench.redis.exists(keys.flow_state(SHARD, flow_of(1)))
    await bench.settle(running)
    assert not await bench.redis.exists(keys.flow_state(SHARD, flow_of(1)))


async def test_the_tombstone_of_a_flow_that_was_never_sealed_expires(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    definition = FlowDefinition(flow_of(1), 1, 4.0, (), 1, sealed=False)
    await bench.engine.push(SHARD, definition, 1, 0, 1, [Entry(1, 1, 10, 0)])
    running = (await bench.claim()).leases
    await bench.engine.cancel(SHARD, flow_of(1), 2)
    await bench.settle(running)
    assert await bench.redis.ttl(keys.flow_state(SHARD, flow_of(1))) > 0


async def test_a_large_waiter_does_not_keep_a_small_one_waiting_that_goes_first(bench: Bench) -> None:
    await bench.limit("c")
    await bench.limit("key-1", Limit("HOUR", None, 100), max_in_flight=1)
    await bench.queue()
    await bench.push(1, 3, tokens=5, weight=1, budgets=["key-1"])
    await bench.push(2, 3, tokens=45, weight=16, budgets=["key-1"])
    served = []
    for _ in range(4):
        leases = (await bench.claim()).leases
        served += [lease.entry.in_tokens for lease in leases]
        await bench.settle(leases)
    # 5 are left. The large flow parked last and needs 45, but by virtual time the small one is first, and fits.
    assert served == [5, 45, 45, 5]


async def test_another_waiter_does_not_put_off_what_an_earlier_one_waits_for(bench: Bench) -> None:
    await bench.limit("c", minute(tokens=100))
    dues = []
    for number, tokens in ((1, 60), (2, 30), (3, 50), (4, 90)):
        await bench.queue(number)
        await bench.push(number, 1, queue=number, tokens=tokens)
        dues.append((await bench.claim()).next_due_ms)
        await bench.after(1000)
    first, last = dues[2:]
    assert first is not None
    assert last == first - 1000
    await bench.after(last - 1000)
    assert [lease.entry.in_tokens for lease in (await bench.claim()).leases] == [50]


async def test_a_pause_tells_those_who_wait_for_a_silent_probe(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 10)
    await bench.engine.pause_budget(SHARD, "c", 0, "429")
    assert len((await bench.claim()).leases) == 1
    assert (await bench.claim()).next_due_ms == 30_000
    await bench.engine.pause_budget(SHARD, "c", 1000, "429")
    assert (await bench.claim()).next_due_ms == 1000
    await bench.after(1000)
    assert len((await bench.claim()).leases) == 1
