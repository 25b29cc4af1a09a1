"""claim: who may run, in which order, within which budgets."""

from collections import Counter

import pytest

from scheduler.domain.work import PauseCause, Refund, Release
from scheduler.ports.engine import EpochLost
from tests.lua.conftest import SHARD, Bench, flow_of, minute


async def drain(bench: Bench, seconds: float, step_ms: int = 25, settle: bool = True) -> list[tuple[int, int]]:
    """Claim every step_ms; answers (time, position) of each lease."""
    admitted = []
    until = bench.now_ms + int(seconds * 1000)
    while bench.now_ms < until:
        while True:
            claimed = await bench.claim()
            admitted += [(bench.now_ms, lease.ref.position) for lease in claimed.leases]
            if settle and claimed.leases:
                assert await bench.settle(claimed.leases) == 0
            if claimed.next_due_ms != 0:
                break
        await bench.after(step_ms)
    return admitted


def worst_window(times: list[int], window_ms: int) -> int:
    worst, start = 0, 0
    for end in range(len(times)):
        while times[end] - times[start] >= window_ms:
            start += 1
        worst = max(worst, end - start + 1)
    return worst


async def test_entries_of_a_flow_are_leased_in_order(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    assert await bench.push(count=10)
    claimed = await bench.claim(slots=6)
    assert [lease.ref.position for lease in claimed.leases] == [1, 2, 3, 4, 5, 6]
    assert claimed.next_due_ms == 0
    rest = await bench.claim()
    assert [lease.ref.position for lease in rest.leases] == [7, 8, 9, 10]
    assert rest.next_due_ms is None
    assert rest.leases[0].ref.fence > claimed.leases[-1].ref.fence
    assert await bench.settle([*claimed.leases, *rest.leases]) == 0
    assert await bench.engine.flows(SHARD, [flow_of(1)]) == {}


async def test_a_stale_push_is_ignored_and_a_repeated_one_too(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    assert await bench.push(count=5)
    assert not await bench.push(count=5)
    assert not await bench.push(count=5, cursor=5, generation=2)
    assert len((await bench.claim()).leases) == 5


async def test_a_small_flow_behind_a_large_one_shares_from_its_start(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 1000)
    for _ in range(10):
        await bench.settle((await bench.claim()).leases)
    await bench.push(2, 4)
    claimed = await bench.claim(slots=16)
    assert Counter(lease.ref.flow.batch_id for lease in claimed.leases)[flow_of(2).batch_id] == 4


async def test_flows_share_by_weight(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 1000, weight=4)
    await bench.push(2, 1000, weight=16)
    served: Counter[str] = Counter()
    for _ in range(10):
        claimed = await bench.claim()
        served.update(lease.ref.flow.batch_id for lease in claimed.leases)
        await bench.settle(claimed.leases)
    assert served[flow_of(2).batch_id] / served[flow_of(1).batch_id] == pytest.approx(4, rel=0.05)


async def test_queues_share_by_tokens(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue(1)
    await bench.queue(2)
    await bench.push(1, 1000, queue=1, tokens=10)
    await bench.push(2, 1000, queue=2, tokens=30)
    served: Counter[str] = Counter()
    for _ in range(10):
        claimed = await bench.claim()
        for lease in claimed.leases:
            served[lease.ref.flow.batch_id] += lease.entry.in_tokens
        await bench.settle(claimed.leases)
    assert served[flow_of(1).batch_id] / served[flow_of(2, 2).batch_id] == pytest.approx(1, rel=0.05)


async def test_a_window_never_admits_more_than_its_limit(bench: Bench) -> None:
    await bench.limit("c")
    await bench.limit("batch-1", minute(requests=60))
    await bench.queue()
    await bench.push(1, 400, budgets=["batch-1"])
    admitted = await drain(bench, 190, step_ms=50)
    times = [at for at, _ in admitted]
    assert worst_window(times, 60_000) == 60
    assert len(times) == 240


async def test_a_paced_connection_is_filled_and_never_exceeded(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=0.992))
    await bench.queue()
    await bench.push(1, 2000)
    admitted = await drain(bench, 125)
    times = [at for at, _ in admitted]
    assert worst_window(times, 60_000) <= 600
    assert worst_window(times, 1_000) <= 21
    second_minute = [at for at in times if at - times[0] >= 60_000]
    assert len(second_minute) / (600 * 65 / 60) >= 0.98


async def test_tokens_bind_as_requests_do(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, tokens=60_000, pace=0.992))
    await bench.queue()
    await bench.push(1, 900, tokens=300)
    admitted = await drain(bench, 125)
    times = [at for at, _ in admitted]
    assert worst_window(times, 60_000) <= 200
    assert len([at for at in times if at - times[0] >= 60_000]) >= 0.97 * 200 * 65 / 60


async def test_two_queues_share_one_exhausted_connection_fairly(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=0.992))
    for number in (1, 2):
        await bench.queue(number)
        await bench.push(number, 900, queue=number)
    served: Counter[str] = Counter()
    until = bench.now_ms + 30_000
    while bench.now_ms < until:
        claimed = await bench.claim()
        served.update(lease.ref.flow.queue.resource_id for lease in claimed.leases)
        await bench.settle(claimed.leases)
        await bench.after(25)
    one, two = served.values()
    assert abs(one - two) <= 8


async def test_calls_in_flight_are_limited_and_a_settle_hands_the_slot_on(bench: Bench) -> None:
    await bench.limit("c", max_in_flight=3)
    await bench.queue()
    await bench.push(1, 10)
    claimed = await bench.claim()
    assert len(claimed.leases) == 3
    assert (await bench.claim()).leases == ()
    await bench.settle(claimed.leases[:2])
    assert await bench.engine.bell.wait(0.05) == SHARD
    assert len((await bench.claim()).leases) == 2


async def test_a_blocked_flow_does_not_hold_up_another_of_its_queue(bench: Bench) -> None:
    await bench.limit("c")
    await bench.limit("batch-1", minute(requests=5))
    await bench.queue()
    await bench.push(1, 50, budgets=["batch-1"])
    await bench.push(2, 50)
    served = Counter(lease.ref.flow.batch_id for lease in (await bench.claim(slots=100)).leases)
    assert served == {flow_of(1).batch_id: 5, flow_of(2).batch_id: 50}


async def test_a_connection_that_is_crowded_takes_open_slots_only(bench: Bench) -> None:
    await bench.limit("c1")
    await bench.limit("c2")
    await bench.queue(1, targets=["c1"])
    await bench.queue(2, targets=["c2"])
    await bench.push(1, 50, queue=1)
    await bench.push(2, 50, queue=2)
    claimed = await bench.claim(slots=60, open_slots=20, crowded=frozenset({"c1"}))
    served = Counter(lease.ref.flow.queue.resource_id for lease in claimed.leases)
    assert sorted(served.values()) == [20, 40] or served[flow_of(1, 1).queue.resource_id] <= 20
    await bench.after(60)
    again = await bench.claim(slots=60)
    assert len(again.leases) == 100 - len(claimed.leases)


async def test_an_entry_larger_than_its_budget_is_handed_out_to_be_failed(bench: Bench) -> None:
    await bench.limit("c", minute(tokens=1000, pace=0.992))
    await bench.queue()
    await bench.push(1, 1, tokens=1001)
    claimed = await bench.claim()
    assert [lease.exceeds for lease in claimed.leases] == ["c"]
    assert await bench.settle(claimed.leases, sent_ago_ms=None) == 0


async def test_an_undefined_budget_admits_nothing_until_it_is_defined(bench: Bench) -> None:
    await bench.queue()
    await bench.push(1, 5)
    assert (await bench.claim()).leases == ()
    await bench.limit("c")
    assert len((await bench.claim()).leases) == 5


async def test_a_spilling_queue_uses_its_second_target(bench: Bench) -> None:
    await bench.limit("c1", max_in_flight=2)
    await bench.limit("c2", max_in_flight=3)
    await bench.queue(targets=["c1", "c2"], spill=True)
    await bench.push(1, 10)
    assert Counter(lease.target for lease in (await bench.claim()).leases) == {0: 2, 1: 3}


async def test_an_entry_moved_to_a_busy_fallback_does_not_hold_up_the_others(bench: Bench) -> None:
    await bench.limit("c1")
    await bench.limit("c2", max_in_flight=0)
    await bench.queue(targets=["c1", "c2"])
    await bench.push(1, 3)
    first = (await bench.claim(slots=1)).leases[0]
    await bench.engine.release(SHARD, [Release(first.ref, 0, True, Refund.NOTHING, 0, next_target=1)])
    assert [lease.ref.position for lease in (await bench.claim()).leases] == [2, 3]


async def test_an_entry_on_its_way_to_a_fallback_does_not_wait_for_the_first_target(bench: Bench) -> None:
    await bench.limit("c1")
    await bench.limit("c2")
    await bench.queue(targets=["c1", "c2"])
    await bench.push(1, 3)
    await bench.push(2, 3)
    first, *others = (await bench.claim(slots=2)).leases
    await bench.engine.pause_budget(SHARD, "c1", 60_000, "429", PauseCause.LIMIT)
    assert (await bench.claim()).leases == ()
    await bench.engine.release(SHARD, [Release(first.ref, 0, True, Refund.NOTHING, 0, next_target=1)])
    again = (await bench.claim()).leases
    assert [(lease.ref.position, lease.target) for lease in again] == [(1, 1)]
    await bench.engine.release(SHARD, [Release(others[0].ref, 500, True, Refund.NOTHING, 0, next_target=1)])
    await bench.after(500)
    assert [lease.target for lease in (await bench.claim()).leases] == [1]


async def test_the_timer_is_held_by_one_worker(bench: Bench) -> None:
    await bench.limit("c", minute(requests=60, pace=0.992))
    await bench.queue()
    await bench.push(1, 100)
    first = await bench.claim(holder="w1")
    assert first.leases
    assert first.holds_timer
    assert first.next_due_ms
    assert not (await bench.claim(holder="w2")).holds_timer
    await bench.after(10_000)
    assert (await bench.claim(holder="w2")).leases


async def test_the_timer_passes_on_so_that_a_bound_shard_is_not_served_by_one_worker(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=0.992))
    await bench.queue()
    await bench.push(1, 500)
    served: Counter[str] = Counter()
    holder = "w1"
    for _ in range(400):
        claimed = await bench.claim(holder=holder)
        served[holder] += len(claimed.leases)
        await bench.settle(claimed.leases)
        if not claimed.holds_timer and claimed.next_due_ms:
            # Whoever waits longest pops the token.
            assert await bench.engine.bell.wait(0.05) == SHARD
            holder = "w2" if holder == "w1" else "w1"
            continue
        await bench.after(max(25, claimed.next_due_ms or 0))
    assert min(served.values()) > 0.3 * sum(served.values())


async def test_a_low_window_orders_one_refill_at_a_time(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 10, end=1000)
    claimed = await bench.claim()
    assert len(claimed.leases) == 10
    assert claimed.refill is not None
    assert (claimed.refill.cursor, claimed.refill.end) == (10, 1000)
    assert (await bench.claim()).refill is None
    await bench.after(2100)
    again = await bench.claim()
    assert again.refill is not None
    assert await bench.push(1, 20, cursor=10, end=1000)
    assert len((await bench.claim()).leases) == 20


async def test_another_epoch_refuses_every_call(bench: Bench) -> None:
    await bench.redis.delete(f"brim:{{{SHARD}}}:epoch")
    with pytest.raises(EpochLost):
        await bench.claim()


async def test_nothing_is_slow_with_many_queues_waiting_on_one_connection(bench: Bench) -> None:
    await bench.limit("c", minute(requests=60, pace=0.992))
    await bench.limit("healthy")
    for number in range(200):
        await bench.queue(number)
        await bench.push(number, 2, queue=number)
    await bench.queue(1000, targets=["healthy"])
    await bench.push(1000, 40, queue=1000)
    served = 0
    for _ in range(40):
        claimed = await bench.claim()
        served += sum(lease.ref.flow.queue == flow_of(0, 1000).queue for lease in claimed.leases)
    assert served == 40


async def test_a_fallback_serves_while_the_first_target_is_shut(bench: Bench) -> None:
    await bench.limit("c1")
    await bench.limit("c2", minute(6))
    await bench.queue(targets=["c1", "c2"])
    await bench.push(count=20)
    await bench.engine.pause_budget(SHARD, "c1", 3_600_000, "no credit")
    first = await bench.claim()
    assert [lease.target for lease in first.leases] == [1] * 6
    assert (await bench.claim()).leases == ()
    await bench.engine.resume_budget(SHARD, "c1")
    probe = await bench.claim()
    assert [lease.target for lease in probe.leases] == [0]
    await bench.settle(probe.leases)
    await bench.after(3_000)
    assert {lease.target for lease in (await bench.claim()).leases} == {0}


async def test_a_limit_of_the_first_target_keeps_its_queue_waiting(bench: Bench) -> None:
    await bench.limit("c1")
    await bench.limit("c2")
    await bench.queue(targets=["c1", "c2"])
    await bench.push(count=4)
    await bench.engine.pause_budget(SHARD, "c1", 5_000, "429", PauseCause.LIMIT)
    assert (await bench.claim()).leases == ()


async def test_what_waits_on_a_target_goes_elsewhere_when_that_is_shut(bench: Bench) -> None:
    await bench.limit("c1", minute(2))
    await bench.limit("c2")
    await bench.queue(targets=["c1", "c2"])
    await bench.push(count=5)
    assert [lease.target for lease in (await bench.claim()).leases] == [0, 0]
    assert (await bench.claim()).leases == ()
    await bench.engine.pause_budget(SHARD, "c1", 3_600_000, "refused")
    assert [lease.target for lease in (await bench.claim()).leases] == [1, 1, 1]


async def test_a_short_pause_does_not_hide_why_a_budget_is_shut(bench: Bench) -> None:
    await bench.limit("c1")
    await bench.limit("c2")
    await bench.queue(targets=["c1", "c2"])
    await bench.push(count=1)
    await bench.engine.pause_budget(SHARD, "c1", 3_600_000, "no credit")
    await bench.engine.pause_budget(SHARD, "c1", 1_000, "429", PauseCause.LIMIT)
    assert (await bench.engine.headroom(SHARD, ["c1"]))["c1"].pause_reason == "no credit"
    assert [lease.target for lease in (await bench.claim()).leases] == [1]
