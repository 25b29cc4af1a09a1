"""admit: single calls in the line of batches."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scheduler.domain.direct import Admission, Admitted, DirectAsk, Exceeds, Refused, Undefined, Waits
from scheduler.domain.work import Limit, Refund, Release, Settlement
from scheduler.engine import keys
from tests.lua.conftest import SHARD, Bench, minute, queue_of

HOLDER = "api-1"


async def ask(
    bench: Bench,
    ticket: str,
    *,
    queue: int = 1,
    tokens: int = 10,
    budgets: Sequence[str] = (),
    wait_ms: int = 30_000,
    target: int = 0,
) -> Admission:
    wanted = DirectAsk(queue_of(queue), ticket, tokens, 0, tuple(budgets), target)
    return await bench.engine.admit(SHARD, wanted, holder=HOLDER, lease_ms=10_000, wait_ms=wait_ms)


async def end(bench: Bench, admission: Admission, *, sent_ago_ms: int | None = 0) -> None:
    assert isinstance(admission, Admitted)
    lease = admission.lease
    done = Settlement(lease.ref, lease.entry.in_tokens, lease.entry.out_tokens, sent_ago_ms)
    assert await bench.engine.settle(SHARD, [done]) == frozenset()


async def told(bench: Bench) -> list[str]:
    names: list[bytes] = await bench.redis.lrange(keys.grants(SHARD, HOLDER), 0, -1)  # type: ignore[assignment]
    return [name.decode() for name in names]


def shared(requests: int | None = None, tokens: int | None = None, share: float = 0.1) -> Limit:
    return Limit("MINUTE", requests, tokens, 0.992, 1000, direct_share=share)


async def in_flight(bench: Bench, budget: str) -> int:
    return (await bench.engine.headroom(SHARD, [budget]))[budget].in_flight


async def test_a_call_with_room_starts_at_once_and_leaves_nothing_behind(bench: Bench) -> None:
    await bench.limit("c", minute(requests=60))
    await bench.limit("k", minute(requests=10))
    await bench.queue()
    admission = await ask(bench, "t1", budgets=["k"])
    assert isinstance(admission, Admitted)
    assert (admission.age_ms, admission.lease.target) == (0, 0)
    assert await in_flight(bench, "c") == await in_flight(bench, "k") == 1
    await end(bench, admission)
    found: list[bytes] = await bench.redis.keys("*")  # type: ignore[assignment]
    left = {key.decode().removeprefix(keys.prefix(SHARD)) for key in found}
    assert left <= {
        "epoch", "clock", "fence", "test-now", "budget:c", "budget:k", f"{keys.queue_name(queue_of(1))}:queue-state",
    }  # fmt: skip
    used = (await bench.engine.headroom(SHARD, ["c", "k"]))["k"].limits[0].requests_used
    assert used == 1


async def test_repeating_a_question_brings_the_same_lease(bench: Bench) -> None:
    await bench.limit("c", minute(requests=60))
    await bench.queue()
    first = await ask(bench, "t1")
    await bench.after(40)
    again = await ask(bench, "t1")
    assert isinstance(first, Admitted)
    assert again == Admitted(first.lease, 40)
    assert await in_flight(bench, "c") == 1


async def test_what_is_not_defined_is_named(bench: Bench) -> None:
    assert await ask(bench, "t1") == Undefined(keys.queue_name(queue_of(1)))
    await bench.queue()
    assert await ask(bench, "t1") == Undefined("c")
    await bench.limit("c")
    assert await ask(bench, "t1", budgets=["k"]) == Undefined("k")


async def test_a_call_larger_than_a_budget_is_told_so(bench: Bench) -> None:
    await bench.limit("c")
    await bench.limit("k", minute(tokens=100))
    await bench.queue()
    assert await ask(bench, "t1", tokens=101, budgets=["k"]) == Exceeds("k")
    assert isinstance(await ask(bench, "t2", tokens=100, budgets=["k"]), Admitted)


async def test_a_call_that_would_wait_too_long_is_refused_with_the_exact_wait(bench: Bench) -> None:
    await bench.limit("c", minute(requests=1))
    await bench.queue()
    await end(bench, await ask(bench, "t1"))
    await bench.after(20_000)
    refused = await ask(bench, "t2", wait_ms=0)
    assert isinstance(refused, Refused)
    assert refused.budget == "c"
    assert await ask(bench, "t3", wait_ms=refused.wait_ms - 1) == refused
    await bench.after(refused.wait_ms - 1)
    assert isinstance(await ask(bench, "t4", wait_ms=0), Refused)
    await bench.after(1)
    assert isinstance(await ask(bench, "t5", wait_ms=0), Admitted)


async def test_a_waiting_call_is_admitted_and_told_as_soon_as_a_place_is_free(bench: Bench) -> None:
    await bench.limit("c", max_in_flight=1)
    await bench.queue()
    running = await ask(bench, "t1")
    assert isinstance(await ask(bench, "t2"), Waits)
    assert isinstance(await ask(bench, "t3"), Waits)
    assert await told(bench) == []
    await bench.after(300)
    await end(bench, running)
    assert await told(bench) == ["t2"]
    await bench.after(7)
    admitted = await ask(bench, "t2")
    assert isinstance(admitted, Admitted)
    assert admitted.age_ms == 7
    assert isinstance(await ask(bench, "t3"), Waits)


async def test_a_guess_is_waited_for_although_it_is_longer_than_the_patience(bench: Bench) -> None:
    await bench.limit("c", max_in_flight=1)
    await bench.queue()
    await ask(bench, "t1")
    assert isinstance(await ask(bench, "t2", wait_ms=200), Waits)
    assert isinstance(await ask(bench, "t3", wait_ms=0), Refused)


async def test_a_call_that_is_given_up_frees_its_place_in_line(bench: Bench) -> None:
    await bench.limit("c", minute(tokens=100), max_in_flight=None)
    await bench.queue()
    await end(bench, await ask(bench, "t1", tokens=60))
    large = await ask(bench, "t2", tokens=90, wait_ms=120_000)
    assert isinstance(large, Waits)
    small = await ask(bench, "t3", tokens=10, wait_ms=120_000)
    assert isinstance(small, Waits)  # the large one was there first
    assert isinstance(await ask(bench, "t2", wait_ms=-1), Refused)
    assert await told(bench) == ["t3"]
    assert isinstance(await ask(bench, "t3"), Admitted)
    assert await bench.redis.exists(f"{keys.prefix(SHARD)}direct-calls") == 0


async def test_a_call_whose_holder_vanished_while_it_waited_is_dropped(bench: Bench) -> None:
    await bench.limit("c", max_in_flight=1)
    await bench.queue()
    running = await ask(bench, "t1", wait_ms=1_000)
    await ask(bench, "t2", wait_ms=1_000)
    await bench.after(4_000)
    await end(bench, running)
    assert await told(bench) == []
    assert await in_flight(bench, "c") == 0


async def test_a_lease_whose_holder_vanished_is_reclaimed_and_comes_back_to_no_flow(bench: Bench) -> None:
    await bench.limit("c", max_in_flight=1)
    await bench.queue()
    await ask(bench, "t1")
    await bench.after(10_001)
    assert await bench.engine.reclaim(SHARD, "w1", 10_000) == (1, ())
    assert await in_flight(bench, "c") == 0
    assert (await bench.claim()).leases == ()


async def test_a_call_that_was_not_sent_gives_everything_back(bench: Bench) -> None:
    await bench.limit("c", minute(requests=1))
    await bench.queue()
    first = await ask(bench, "t1")
    assert isinstance(first, Admitted)
    waiting = await ask(bench, "t2", wait_ms=90_000)
    assert isinstance(waiting, Waits)
    release = Release(first.lease.ref, 0, spend_attempt=False, refund=Refund.ALL, sent_ago_ms=None)
    assert await bench.engine.release(SHARD, [release]) == frozenset()
    assert await told(bench) == ["t2"]


async def test_direct_calls_go_ahead_of_a_backlog_and_do_not_starve_it(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=0.992))
    await bench.queue()
    await bench.push(1, 2_000)
    for _ in range(4):
        await bench.settle((await bench.claim()).leases)
        await bench.after(25)
    waits = []
    for number in range(20):
        started_ms, ticket = bench.now_ms, f"t{number:03}"
        while not isinstance(admission := await ask(bench, ticket), Admitted):
            await bench.settle((await bench.claim()).leases)
            assert isinstance(admission, Waits)
            await bench.after(min(5, admission.ask_ms))
        waits.append(bench.now_ms - started_ms)
        await end(bench, admission)
        for _ in range(20):
            await bench.settle((await bench.claim()).leases)
            await bench.after(25)
    assert max(waits) <= 102  # one slot of the pace
    served, before = 0, len(await told(bench))
    for number in range(100, 300):  # now far more direct calls than there is room for
        await ask(bench, f"t{number}", wait_ms=600_000)
        claimed = await bench.claim()
        served += len(claimed.leases)
        await bench.settle(claimed.leases)
        await bench.after(50)
    granted = len(await told(bench)) - before
    assert served + granted == pytest.approx(100, abs=3)
    assert 0.65 <= granted / (served + granted) <= 0.9  # four to one


async def test_a_share_is_there_at_once_beside_a_backlog_and_lent_out_meanwhile(bench: Bench) -> None:
    await bench.limit("c", shared(requests=600))
    await bench.queue()
    await bench.push(1, 4_000)
    served = direct = 0
    until, number = bench.now_ms + 190_000, 0
    first_minute_ms, next_call_ms = bench.now_ms + 65_000, bench.now_ms + 125_000
    while bench.now_ms < until:
        claimed = await bench.claim()
        await bench.settle(claimed.leases)
        if bench.now_ms > first_minute_ms and bench.now_ms <= first_minute_ms + 60_000:
            served += len(claimed.leases)
        if bench.now_ms >= next_call_ms:
            next_call_ms += 1_050
            number += 1
            admission = await ask(bench, f"t{number:03}", wait_ms=0)
            await end(bench, admission)
            direct += 1
        await bench.after(25)
    assert served >= 0.975 * 600  # while nobody calls, batches have nearly all
    assert direct >= 60


async def test_a_share_of_tokens_is_there_for_large_calls(bench: Bench) -> None:
    await bench.limit("c", shared(tokens=60_000))
    await bench.queue()
    await bench.push(1, 4_000, tokens=100)
    waits = []
    for number in range(24):
        for _ in range(240):
            await bench.settle((await bench.claim()).leases)
            await bench.after(25)
        admission = await ask(bench, f"t{number:03}", tokens=500, wait_ms=0)
        waits.append(0 if isinstance(admission, Admitted) else admission.wait_ms)  # type: ignore[union-attr]
        if isinstance(admission, Admitted):
            await end(bench, admission)
    assert waits[12:] == [0] * 12


async def test_with_a_share_the_window_still_holds(bench: Bench) -> None:
    await bench.limit("c", shared(requests=120, share=0.5))
    await bench.queue()
    await bench.push(1, 2_000)
    times: list[int] = []
    for number in range(4_000):
        claimed = await bench.claim()
        times += [bench.now_ms] * len(claimed.leases)
        await bench.settle(claimed.leases)
        if number % 4 == 0:
            admission = await ask(bench, f"t{number:05}", wait_ms=0)
            if isinstance(admission, Admitted):
                times.append(bench.now_ms)
                await end(bench, admission)
        await bench.after(40)
    start = 0
    for finish in range(len(times)):
        while times[finish] - times[start] >= 60_000:
            start += 1
        assert finish - start + 1 <= 120


async def test_a_fallback_is_used_when_the_caller_says_so_or_the_resource_spills(bench: Bench) -> None:
    await bench.limit("c", max_in_flight=1)
    await bench.limit("d")
    await bench.queue(1, targets=["c", "d"])
    await bench.queue(2, targets=["c", "d"], spill=True)
    first = await ask(bench, "t1")
    assert isinstance(first, Admitted)
    spilled = await ask(bench, "t2", queue=2)
    assert isinstance(spilled, Admitted)
    assert spilled.lease.target == 1
    assert isinstance(await ask(bench, "t3"), Waits)
    retargeted = await ask(bench, "t4", target=1)
    assert isinstance(retargeted, Admitted)
    assert retargeted.lease.target == 1


async def test_a_call_that_a_target_could_never_take_goes_to_one_that_can(bench: Bench) -> None:
    await bench.limit("c", Limit("MINUTE", None, 10))
    await bench.limit("d", Limit("MINUTE", None, 100))
    await bench.queue(1, targets=["c", "d"])
    found = await ask(bench, "t1", tokens=50)
    assert isinstance(found, Admitted)
    assert found.lease.target == 1
    assert isinstance(await ask(bench, "t2", tokens=500), Exceeds)
