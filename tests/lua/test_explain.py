"""explain: which limit binds, and when an entry starts, against what then happens."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from scheduler.domain.forecast import Forecast, at_end, forecast
from scheduler.domain.standing import Place, Standing
from scheduler.domain.supply import Binding
from scheduler.domain.work import Lease, Limit, Refund, Release
from tests.lua.conftest import SHARD, START_MS, Bench, flow_of, minute

STEP_MS = 50
RUN_MS = 400


async def standing_of(bench: Bench, position: int = 0, number: int = 1, queue: int = 1) -> Standing:
    found = await bench.engine.explain(SHARD, flow_of(number, queue), position)
    assert found is not None
    return found


async def forecast_of(bench: Bench, position: int, number: int = 1, queue: int = 1) -> Forecast:
    return forecast(await standing_of(bench, position, number, queue), RUN_MS)


async def start_of(bench: Bench, position: int, number: int = 1, queue: int = 1, run_ms: int = 0) -> int:
    """Let claimers work until the entry is leased; answers when that was, in ms from now. Calls take run_ms."""
    began, wanted = bench.now_ms, (flow_of(number, queue), position)
    running: list[tuple[int, Lease]] = []
    while bench.now_ms < began + 600_000:
        ended = [lease for until, lease in running if until <= bench.now_ms]
        running = [(until, lease) for until, lease in running if until > bench.now_ms]
        if ended:
            assert await bench.settle(ended) == 0
        while True:
            claimed = await bench.claim()
            if any((lease.ref.flow, lease.ref.position) == wanted for lease in claimed.leases):
                return bench.now_ms - began
            if run_ms:
                running += [(bench.now_ms + run_ms, lease) for lease in claimed.leases]
            elif claimed.leases:
                await bench.settle(claimed.leases)
            if claimed.next_due_ms != 0:
                break
        await bench.after(STEP_MS)
    raise AssertionError("it never started")


def assert_close(found: Forecast, actual_ms: int) -> None:
    assert found.start_ms is not None
    assert abs(found.start_ms - actual_ms) <= max(0.2 * actual_ms, 100), (found.start_ms, actual_ms)


@dataclass(frozen=True)
class Kind:
    """One kind of limit. budget: the one that binds, or ""; run_ms: how long calls take."""

    name: str
    set_up: Callable[[Bench], Awaitable[None]]
    position: int
    binding: Binding
    budget: str
    period: str = "MINUTE"
    run_ms: int = 0


async def _connection(bench: Bench, *limits: Limit, count: int, tokens: int = 10, in_flight: int | None = None) -> None:
    await bench.limit("c", *limits, max_in_flight=in_flight)
    await bench.queue()
    await bench.push(count=count, tokens=tokens)


async def _requests(bench: Bench) -> None:
    await _connection(bench, minute(120, pace=0.992), count=300)


async def _tokens(bench: Bench) -> None:
    await _connection(bench, minute(tokens=6_000, pace=0.992), count=100, tokens=200)


async def _second_window(bench: Bench) -> None:
    await _connection(bench, Limit("SECOND", 5, None), count=100)


async def _in_flight(bench: Bench) -> None:
    await _connection(bench, count=100, in_flight=2)


async def _batch(bench: Bench) -> None:
    await bench.limit("c", minute(6_000, pace=0.992))
    await bench.limit("batch-1", minute(30))
    await bench.queue()
    await bench.push(count=100, budgets=["batch-1"])


async def _key(bench: Bench) -> None:
    await bench.limit("c")
    await bench.limit("key-1", minute(60))
    await bench.queue()
    await bench.push(1, count=100, budgets=["key-1"])
    await bench.push(2, count=100, budgets=["key-1"])
    for _ in range(3):  # both have used it, and wait for it
        await bench.settle((await bench.claim()).leases)


async def _resource(bench: Bench) -> None:
    await bench.limit("c")
    await bench.limit("r", minute(tokens=600))
    await bench.queue(budgets=["r"])
    await bench.push(1, count=100)
    await bench.push(2, count=20, weight=16)


async def _quota(bench: Bench) -> None:
    await bench.at(START_MS - START_MS % 3_600_000 + 3_590_000)
    await _connection(bench, Limit("HOUR", 20, None), count=50)


async def _pause(bench: Bench) -> None:
    await _connection(bench, minute(600, pace=0.992), count=50)
    await bench.engine.pause_budget(SHARD, "c", 20_000, "Too many requests.")


async def _shared(bench: Bench) -> None:
    """Another queue on the connection, and another batch in this one, each with its weight."""
    await bench.limit("c", minute(600, pace=0.992))
    await bench.queue(1, weight=4)
    await bench.queue(2, weight=8)
    await bench.push(1, count=200, queue=1, weight=4)
    await bench.push(2, count=200, queue=1, weight=16)
    await bench.push(3, count=100, queue=2)
    for _ in range(3):
        await bench.settle((await bench.claim()).leases)
        await bench.after(STEP_MS)


async def _spill(bench: Bench) -> None:
    await bench.limit("c", minute(120, pace=0.992))
    await bench.limit("d", minute(240, pace=0.992))
    await bench.queue(targets=["c", "d"], spill=True)
    await bench.push(count=200)


KINDS = [
    Kind("requests a minute", _requests, 100, Binding.REQUESTS, "c"),
    Kind("tokens a minute", _tokens, 50, Binding.TOKENS, "c"),
    Kind("requests a second", _second_window, 40, Binding.REQUESTS, "c", "SECOND"),
    Kind("calls in flight", _in_flight, 50, Binding.IN_FLIGHT, "c", "", RUN_MS),
    Kind("a batch's own limit", _batch, 80, Binding.REQUESTS, "batch-1"),
    Kind("a key's limit", _key, 70, Binding.REQUESTS, "key-1"),
    Kind("a resource's limit", _resource, 90, Binding.TOKENS, "r"),
    Kind("a quota", _quota, 30, Binding.REQUESTS, "c", "HOUR"),
    Kind("a pause", _pause, 40, Binding.PAUSE, "c", ""),
    Kind("a share of a connection", _shared, 60, Binding.REQUESTS, "c"),
    Kind("targets that add up", _spill, 100, Binding.REQUESTS, "d"),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_the_binding_limit_is_named_and_its_start_comes_true(bench: Bench, kind: Kind) -> None:
    await kind.set_up(bench)
    found = await forecast_of(bench, kind.position)
    assert found.binding is not None
    assert found.binding.account is not None
    assert (found.binding.binding, found.binding.account.budget_id) == (kind.binding, kind.budget)
    gauge = found.binding.admission.gauge if found.binding.admission else None
    if kind.period:
        assert gauge is not None
        assert gauge.period == kind.period
    assert_close(found, await start_of(bench, kind.position, run_ms=kind.run_ms))


async def test_a_paused_batch_waits_for_a_person(bench: Bench) -> None:
    await _connection(bench, minute(60), count=5)
    await bench.control(1, 2, paused=True)
    found = await forecast_of(bench, 3)
    assert found.start_ms is None
    assert found.binding is not None
    assert found.binding.binding is Binding.BATCH_PAUSED
    assert found.ahead.requests == 2


async def test_an_entry_that_waits_for_its_retry_says_when(bench: Bench) -> None:
    await _connection(bench, minute(6_000), count=3)
    [first, *rest] = (await bench.claim()).leases
    await bench.settle(rest)
    await bench.engine.release(SHARD, [Release(first.ref, 30_000, True, Refund.NOTHING, 10)])
    await bench.after(5_000)
    found = await forecast_of(bench, 1)
    assert found.binding is not None
    assert found.binding.binding is Binding.RETRY
    assert found.start_ms == 25_000
    whole = forecast(at_end(await standing_of(bench)), RUN_MS)
    assert (whole.binding, whole.start_ms) == (found.binding, 25_000)
    assert_close(found, await start_of(bench, 1))


async def test_a_batch_ends_no_earlier_than_its_last_retry(bench: Bench) -> None:
    await _connection(bench, minute(6_000), count=20)
    leases = (await bench.claim(3)).leases
    delays_ms = zip(leases, (9_000, 40_000, 20_000), strict=True)
    waits = [Release(lease.ref, delay_ms, True, Refund.NOTHING, 10) for lease, delay_ms in delays_ms]
    await bench.engine.release(SHARD, waits)
    found = forecast(at_end(await standing_of(bench)), RUN_MS)
    assert found.binding is not None
    assert (found.binding.binding, found.start_ms) == (Binding.RETRY, 40_000)
    assert forecast(await standing_of(bench), RUN_MS).start_ms == 0


async def test_a_budget_that_nobody_defined_is_named(bench: Bench) -> None:
    await bench.queue()
    await bench.push(count=3)
    found = await forecast_of(bench, 1)
    assert found.start_ms is None
    assert found.binding is not None
    assert found.binding.binding is Binding.UNDEFINED


async def test_where_an_entry_is(bench: Bench) -> None:
    await _connection(bench, minute(2), count=6)
    leases = (await bench.claim()).leases
    assert (await standing_of(bench, 1)).place is Place.RUNNING
    assert (await forecast_of(bench, 1)).start_ms == 0
    await bench.settle(leases[:1])
    assert (await standing_of(bench, 1)).place is Place.ABSENT
    waiting = await standing_of(bench, 6)
    assert (waiting.place, waiting.ahead.requests, waiting.parked_on) == (Place.WAITING, 3, "c")
    assert await bench.engine.explain(SHARD, flow_of(99), 1) is None


async def test_an_entry_behind_the_window_counts_all_before_it(bench: Bench) -> None:
    await bench.limit("c", minute(60, pace=0.992))
    await bench.queue()
    await bench.push(count=100, end=10_000)
    found = await bench.engine.explain(SHARD, flow_of(1), 5_100, share=0.5)
    assert found is not None
    assert (found.place, found.ahead.requests) == (Place.WAITING, 100 + 4_999 * 0.5)
    assert at_end(found).ahead.requests == 100 + 9_900 * 0.5 - 1


async def test_an_entry_deep_in_the_window_is_found(bench: Bench) -> None:
    await bench.limit("c", minute(60, pace=0.992))
    await bench.queue()
    await bench.push(count=2_000)
    found = await standing_of(bench, 1_777)
    assert (found.place, found.ahead.requests) == (Place.WAITING, 1_776)


async def test_nothing_holds_back_what_may_run_now(bench: Bench) -> None:
    await _connection(bench, minute(600, pace=0.992), count=3)
    found = await forecast_of(bench, 2)
    assert (found.start_ms, found.binding) == (0, None)
    assert [bound.account.budget_id for bound in found.limits if bound.account] == ["c"]


async def test_the_end_of_a_batch_is_foreseen(bench: Bench) -> None:
    await _connection(bench, minute(300, pace=0.992), count=150)
    found = forecast(at_end(await standing_of(bench)), RUN_MS)
    assert_close(found, await start_of(bench, 150))
