"""settle, release, renew, reclaim: how the right to run ends, and what the budgets keep."""

from scheduler.domain.work import Entry, Fence, FlowDefinition, LeaseRef, Limit, PauseCause, Refund, Release, Settlement
from scheduler.engine import keys
from tests.lua.conftest import SHARD, Bench, flow_of, minute


async def used(bench: Bench, budget: str) -> tuple[int, int]:
    report = (await bench.engine.headroom(SHARD, [budget]))[budget]
    return report.limits[0].requests_used, report.limits[0].tokens_used


async def test_a_lease_is_settled_once_and_only_by_its_fence(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(count=2)
    claimed = await bench.claim()
    stranger = claimed.leases[0]._replace(
        ref=LeaseRef(flow_of(1), 1, Fence(1, claimed.leases[0].ref.fence.number + 100))
    )
    assert await bench.settle([stranger]) == 1
    assert await bench.settle(claimed.leases) == 0
    assert await bench.settle(claimed.leases) == 2


async def test_a_lost_lease_cannot_be_settled_or_released(bench: Bench) -> None:
    await bench.limit("c", max_in_flight=1)
    await bench.queue()
    await bench.push(count=1)
    old = (await bench.claim(lease_ms=1000)).leases
    await bench.after(1001)
    assert await bench.engine.reclaim(SHARD, "w2", 1000) == (1, ())
    new = (await bench.claim(holder="w2")).leases
    assert new[0].entry.crashes == 1
    assert await bench.settle(old) == 1
    assert await bench.engine.release(SHARD, [Release(old[0].ref, 0, True, Refund.NOTHING, 0)]) == {old[0].ref}
    assert await bench.settle(new) == 0


async def test_an_unsent_call_gives_everything_back(bench: Bench) -> None:
    await bench.limit("c", minute(requests=2, tokens=100, pace=0.9))
    await bench.queue()
    await bench.push(count=2)
    claimed = await bench.claim()
    assert await used(bench, "c") == (len(claimed.leases), 10 * len(claimed.leases))
    await bench.after(600)
    releases = [Release(lease.ref, 0, False, Refund.ALL, None) for lease in claimed.leases]
    assert await bench.engine.release(SHARD, releases) == frozenset()
    assert await used(bench, "c") == (0, 0)
    again = await bench.claim()
    assert [(lease.ref.position, lease.entry.attempts) for lease in again.leases] == [(1, 0)]


async def test_an_entry_that_fits_no_more_comes_back_with_the_reserve_that_it_is_given(bench: Bench) -> None:
    await bench.limit("c", minute(tokens=5_000))
    await bench.queue()
    flow = FlowDefinition(flow_of(1), 1, 4.0, (), 2)
    await bench.engine.push(SHARD, flow, 0, 0, 2, [Entry(1, 1, 10, 4_000, 3, 1), Entry(2, 1, 10, 500)])
    await bench.limit("c", minute(tokens=2_000))
    first, second = (await bench.claim()).leases
    assert (first.exceeds, second.exceeds) == ("c", "")
    back = [
        Release(first.ref, 0, False, Refund.ALL, None, out_tokens=600),
        Release(second.ref, 0, False, Refund.ALL, None),
    ]
    assert await bench.engine.release(SHARD, back) == frozenset()
    assert await used(bench, "c") == (0, 0), "nothing was reserved for what exceeds"
    again = (await bench.claim()).leases
    assert [lease.entry for lease in again] == [Entry(1, 1, 10, 600, 3, 1), Entry(2, 1, 10, 500)]
    assert [lease.exceeds for lease in again] == ["", ""]
    assert await used(bench, "c") == (2, 1_120)


async def test_a_failed_attempt_comes_back_to_the_front_when_due(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(count=3)
    first = (await bench.claim(slots=1)).leases[0]
    await bench.engine.release(SHARD, [Release(first.ref, 2000, True, Refund.NOTHING, 10)])
    claimed = await bench.claim(slots=1)
    assert [lease.ref.position for lease in claimed.leases] == [2]
    await bench.after(2000)
    due = await bench.claim()
    assert [(lease.ref.position, lease.entry.attempts) for lease in due.leases] == [(1, 1), (3, 0)]


async def test_the_wait_for_a_retry_is_told_to_the_claimer(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(count=1)
    first = (await bench.claim()).leases[0]
    await bench.engine.release(SHARD, [Release(first.ref, 2000, True, Refund.NOTHING, 10)])
    assert await bench.engine.bell.wait(0.05) == SHARD
    claimed = await bench.claim()
    assert claimed.next_due_ms == 2000
    assert claimed.holds_timer


async def test_a_call_that_left_late_is_counted_when_it_left(bench: Bench) -> None:
    await bench.limit("c", minute(requests=1))
    await bench.queue()
    await bench.push(count=2)
    claimed = await bench.claim()
    assert len(claimed.leases) == 1
    await bench.after(3000)
    assert await bench.engine.renew(SHARD, 10_000, [(claimed.leases[0].ref, 500)]) == frozenset()
    await bench.settle(claimed.leases, sent_ago_ms=500)
    await bench.after(58_000)
    assert (await bench.claim()).leases == ()
    await bench.after(2_000)
    assert len((await bench.claim()).leases) == 1


async def test_use_above_the_reserve_is_booked_and_below_it_given_back(bench: Bench) -> None:
    await bench.limit("c", minute(tokens=1000))
    await bench.queue()
    await bench.push(count=2, tokens=100)
    claimed = await bench.claim()
    await bench.after(1000)
    one, two = claimed.leases
    await bench.engine.settle(SHARD, [Settlement(one.ref, 100, 60, 1000), Settlement(two.ref, 30, 10, 1000)])
    assert await used(bench, "c") == (2, 200)
    await bench.after(60_000)
    assert await used(bench, "c") == (0, 60)


async def test_renewing_keeps_a_lease_and_tells_of_lost_ones(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(count=2)
    claimed = await bench.claim(lease_ms=1000)
    kept, lost = claimed.leases
    await bench.after(900)
    assert await bench.engine.renew(SHARD, 1000, [(kept.ref, 0)]) == frozenset()
    await bench.after(200)
    assert (await bench.engine.reclaim(SHARD, "w2", 1000))[0] == 1
    assert await bench.engine.renew(SHARD, 1000, [(kept.ref, 0), (lost.ref, 0)]) == {lost.ref}


async def test_an_entry_whose_holders_keep_dying_becomes_a_dead_letter(bench: Bench) -> None:
    await bench.limit("c", max_in_flight=1)
    await bench.queue()
    await bench.push(count=1)
    for crash in range(1, 6):
        leases = (await bench.claim(lease_ms=1000)).leases
        assert [lease.entry.crashes for lease in leases] == [crash - 1]
        await bench.after(1001)
        count, dead = await bench.engine.reclaim(SHARD, "reclaimer", 1000)
        assert count == 1
        await bench.after(10_000)
    assert [lease.entry.crashes for lease in dead] == [5]
    # Its reclaimer dies too: the next one gets it again, and it is still not run.
    count, dead = await bench.engine.reclaim(SHARD, "another", 1000)
    assert (count, [lease.entry.crashes for lease in dead]) == (1, [5])
    assert (await bench.claim()).leases == ()
    assert await bench.settle(dead, sent_ago_ms=None) == 0
    assert await bench.redis.hlen(keys.leases(SHARD)) == 0


async def test_a_cancelled_flow_is_claimed_no_more_and_drops_what_comes_back(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 10)
    await bench.push(2, 3)
    running = (await bench.claim(slots=4)).leases
    mine = [lease for lease in running if lease.ref.flow == flow_of(1)]
    await bench.engine.cancel(SHARD, flow_of(1), 2)
    for lease in mine[:2]:
        await bench.engine.release(SHARD, [Release(lease.ref, 0, True, Refund.NOTHING, 5)])
    later = (await bench.claim()).leases
    assert {lease.ref.flow for lease in later} <= {flow_of(2)}
    await bench.settle(mine[2:])
    state = (await bench.engine.flows(SHARD, [flow_of(1)]))[flow_of(1)]
    assert (state.dead, state.leased, state.waiting) == (True, 0, 0)
    assert not await bench.push(1, 10)


async def test_a_push_after_the_cancel_does_not_bring_a_flow_back(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.engine.cancel(SHARD, flow_of(1), 2)
    assert not await bench.push(1, 5)
    assert (await bench.claim()).leases == ()


async def test_a_paused_flow_waits_and_goes_on(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 4)
    await bench.control(1, 5, paused=True)
    assert (await bench.claim()).leases == ()
    await bench.control(1, 4)
    assert (await bench.claim()).leases == ()
    await bench.control(1, 6)
    assert len((await bench.claim()).leases) == 4


async def test_a_pause_that_overtakes_a_new_limit_brings_it(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 10)
    await bench.limit("batch-1", Limit("LIFETIME", 2, None))
    await bench.control(1, 3, weight=16, budgets=["batch-1"], paused=True)
    await bench.control(1, 2, weight=16, budgets=["batch-1"])
    assert (await bench.claim()).leases == ()
    await bench.control(1, 4, weight=16, budgets=["batch-1"])
    assert len((await bench.claim()).leases) == 2
    state = (await bench.engine.flows(SHARD, [flow_of(1)]))[flow_of(1)]
    assert (state.version, state.paused) == (4, False)


async def test_a_changed_flow_leaves_the_budget_that_binds_it_no_more(bench: Bench) -> None:
    await bench.limit("c")
    await bench.limit("batch-1", minute(requests=2))
    await bench.queue()
    await bench.push(1, 10, budgets=["batch-1"])
    assert len((await bench.claim()).leases) == 2
    assert (await bench.claim()).leases == ()
    await bench.control(1, 2, weight=16)
    assert len((await bench.claim()).leases) == 8
    await bench.control(1, 1, weight=1, budgets=["batch-1"])
    assert await bench.redis.zcard("brim:{3}:budget:batch-1:waiting") == 0


async def test_a_raised_priority_counts_from_the_next_claim(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 500, weight=4)
    await bench.push(2, 500, weight=4)
    await bench.settle((await bench.claim()).leases)
    await bench.control(2, 2, weight=16)
    served = [lease.ref.flow for _ in range(4) for lease in (await bench.claim()).leases]
    assert 3.5 < served.count(flow_of(2)) / served.count(flow_of(1)) < 4.5


async def test_repair_empties_the_window_and_refills_around_live_leases(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 10, end=10)
    held = (await bench.claim(slots=3)).leases
    definition = FlowDefinition(flow_of(1), 1, 4.0, (), 10)
    assert await bench.engine.repair(SHARD, definition, 2, 0)
    assert not await bench.engine.repair(SHARD, definition, 2, 0)
    # A stale refill of the old generation changes nothing; the new one leaves the live leases out.
    assert not await bench.push(1, 10, end=10)
    assert await bench.push(1, 10, end=10, generation=2)
    assert [lease.ref.position for lease in (await bench.claim()).leases] == [4, 5, 6, 7, 8, 9, 10]
    await bench.engine.release(SHARD, [Release(held[0].ref, 0, False, Refund.ALL, None)])
    assert [lease.ref.position for lease in (await bench.claim()).leases] == [1]


async def test_a_dead_flow_lives_again_in_a_newer_version_only(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 5)
    await bench.engine.cancel(SHARD, flow_of(1), 7)
    older = FlowDefinition(flow_of(1), 7, 4.0, (), 5)
    assert not await bench.engine.repair(SHARD, older, 2, 0)
    newer = FlowDefinition(flow_of(1), 8, 4.0, (), 5)
    assert await bench.engine.repair(SHARD, newer, 2, 2)
    assert await bench.push(1, 3, cursor=2, end=5, generation=2)
    leases = (await bench.claim()).leases
    assert [lease.ref.position for lease in leases] == [3, 4, 5]
    assert await bench.settle(leases) == 0
    assert await bench.engine.flows(SHARD, [flow_of(1)]) == {}


async def test_an_entry_above_the_cursor_is_dropped_because_the_refill_brings_it(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 5, end=5)
    held = (await bench.claim()).leases
    await bench.engine.repair(SHARD, FlowDefinition(flow_of(1), 1, 4.0, (), 5), 2, 0)
    await bench.engine.release(SHARD, [Release(lease.ref, 0, False, Refund.ALL, None) for lease in held])
    assert (await bench.claim()).leases == ()
    assert await bench.push(1, 5, end=5, generation=2)
    assert [lease.ref.position for lease in (await bench.claim()).leases] == [1, 2, 3, 4, 5]


async def test_a_paused_budget_lets_one_probe_through_until_it_is_answered(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 20)
    await bench.engine.pause_budget(SHARD, "c", 5000, "429")
    blocked = await bench.claim()
    assert blocked.leases == ()
    assert blocked.next_due_ms == 5000
    report = (await bench.engine.headroom(SHARD, ["c"]))["c"]
    assert (report.paused_ms, report.pause_reason, report.waiting) == (5000, "429", 1)
    await bench.after(5000)
    probe = (await bench.claim()).leases
    assert len(probe) == 1
    await bench.after(1000)
    assert (await bench.claim()).leases == ()
    await bench.settle(probe)
    # What follows goes in a slow start: two for each that was answered, and after two seconds all.
    ramp = (await bench.claim()).leases
    assert len(ramp) == 2
    await bench.settle(ramp)
    assert len((await bench.claim()).leases) == 4
    await bench.after(2000)
    assert len((await bench.claim()).leases) == 13


async def test_a_failed_probe_lets_another_one_through(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 20)
    await bench.engine.pause_budget(SHARD, "c", 0, "circuit")
    probe = (await bench.claim()).leases
    assert len(probe) == 1
    await bench.engine.release(SHARD, [Release(probe[0].ref, 0, True, Refund.NOTHING, 5)])
    assert len((await bench.claim()).leases) == 1


async def test_a_limit_changed_while_running_keeps_what_was_used(bench: Bench) -> None:
    await bench.limit("c", minute(requests=10))
    await bench.queue()
    await bench.push(1, 50)
    assert len((await bench.claim()).leases) == 10
    await bench.limit("c", minute(requests=30))
    assert len((await bench.claim()).leases) == 20
    await bench.limit("c", minute(requests=5))
    await bench.after(10_000)
    assert (await bench.claim()).leases == ()
    assert (await used(bench, "c"))[0] == 30


async def test_a_new_budget_after_a_loss_starts_spent(bench: Bench) -> None:
    await bench.limit("c", minute(requests=10), spent=True)
    await bench.queue()
    await bench.push(1, 50)
    assert (await bench.claim()).leases == ()
    await bench.after(60_500)
    assert len((await bench.claim()).leases) == 10


async def test_nothing_is_left_behind_when_a_flow_is_done(bench: Bench) -> None:
    await bench.limit("c", minute(requests=1000, pace=0.992), max_in_flight=8)
    await bench.queue()
    await bench.push(1, 100)
    done = 0
    while done < 100:
        leases = (await bench.claim()).leases
        await bench.settle(leases)
        done += len(leases)
        await bench.after(50)
    left = {key.decode().split("}:", 1)[1] async for key in bench.redis.scan_iter()}
    allowed = ("epoch", "clock", "fence", "timer", "wake", "test-now", "budget:c")
    assert {key for key in left if not key.startswith(allowed) and "queue-st" not in key} == set()


async def test_a_budget_whose_growth_was_refused_grows_by_half_in_a_quarter_of_an_hour(bench: Bench) -> None:
    await bench.limit("c", minute(600, pace=1.0))
    await bench.queue()
    await bench.push(1, 1_900)

    async def taken_in(ms: int) -> int:
        until, taken = bench.now_ms + ms, 0
        while bench.now_ms < until:
            leases = (await bench.claim()).leases
            taken += len(leases)
            await bench.settle(leases)
            await bench.after(50)
        return taken

    await taken_in(30_000)  # about half of the limit
    await bench.engine.pause_budget(SHARD, "c", 0, "slow down", PauseCause.GROWTH)
    await taken_in(5_000)
    after = await taken_in(30_000)
    assert 0.4 * 300 < after < 0.55 * 300
    await bench.after(900_000)
    await taken_in(5_000)
    assert 1.4 * after < await taken_in(30_000) < 1.6 * after
