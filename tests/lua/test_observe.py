"""observe: limits that answers tell, use of the same key by others, calls at once that are worth it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.observation import CallsEnded, LearnedLimits, LimitUse, Observation
from scheduler.domain.work import BudgetDefinition, Limit, Meter, PauseCause, QueueDefinition
from scheduler.engine import keys
from tests.lua.conftest import SHARD, Bench, minute, queue_of
from tests.lua.test_claim import drain

MODEL = "model-c-1"
PACE = 0.992


async def queue(bench: Bench, number: int = 1) -> None:
    await bench.engine.set_queues(SHARD, [QueueDefinition(queue_of(number), 1, ("c",), (), 4.0, models=(MODEL,))])


async def tell(
    bench: Bench,
    *,
    limit: Limit | None = None,
    used: int | None = None,
    reset_ms: int | None = None,
    age_ms: int = 0,
    refilled: bool = True,
    calls: CallsEnded | None = None,
    rounded_to: int = 1,
) -> list[LearnedLimits]:
    uses = []
    if limit is not None and used is not None:
        meter = None if limit.requests is not None else limit.meter
        figure = limit.requests if limit.requests is not None else limit.tokens
        assert figure is not None
        # What a bucket would say, unless told otherwise.
        reset = used * 60_000 // figure if reset_ms is None else reset_ms
        uses.append(LimitUse("MINUTE", meter, figure, used, reset, rounded_to))
    told = Observation(MODEL, "c", (limit,) if limit else (), tuple(uses), age_ms, refilled, calls)
    return list(await bench.engine.observe(SHARD, [told]))


async def tell_on(bench: Bench, *, limit: Limit, used: int, refilled: bool = True, **more: Any) -> None:
    """Tell the same for so long that others are believed to be there; the books of a bucket refill meanwhile."""
    for _ in range(8):
        await tell(bench, limit=limit, used=used, refilled=refilled, **more)
        await bench.after(500)


async def booked(bench: Bench, budget: str = MODEL) -> tuple[int, int]:
    """(requests, tokens) that the minute of a budget counts as used; (-1, -1) without one."""
    found = (await bench.engine.headroom(SHARD, [budget])).get(budget)
    if found is None:
        return -1, -1
    return found.limits[0].requests_used, found.limits[0].tokens_used


async def test_a_lower_limit_binds_and_goes_when_the_provider_raises_it(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    await queue(bench)
    await bench.push(count=2_000)
    assert await tell(bench, limit=minute(requests=60, pace=PACE)) == [
        LearnedLimits(MODEL, (Limit("MINUTE", 60, None),), None)
    ]
    assert await tell(bench, limit=minute(requests=60, pace=PACE)) == []
    first = await drain(bench, 60)
    assert 55 <= len(first) <= 60
    [raised] = await tell(bench, limit=minute(requests=10_000, pace=PACE))
    assert raised.limits[0].requests == 10_000
    await bench.after(1_000)
    assert len(await drain(bench, 10)) >= 95, "the connection's own limit binds again"


async def test_a_higher_limit_binds_nothing(bench: Bench) -> None:
    await bench.limit("c", minute(requests=60, pace=PACE))
    await tell(bench, limit=minute(requests=600, pace=PACE), used=0)
    assert await booked(bench) == (-1, -1)


async def test_a_limit_that_nobody_configured_binds(bench: Bench) -> None:
    await bench.limit("c")
    await queue(bench)
    await bench.push(count=200)
    await tell(bench, limit=minute(requests=60, pace=PACE))
    assert 8 <= len(await drain(bench, 10)) <= 11


async def test_limits_of_several_dimensions_are_learned_one_by_one(bench: Bench) -> None:
    await bench.limit("c")
    await tell(bench, limit=Limit("MINUTE", None, 40_000, meter=Meter.INPUT))
    [learned] = await tell(bench, limit=minute(requests=50))
    assert {(limit.meter, limit.requests, limit.tokens) for limit in learned.limits} == {
        (Meter.INPUT, None, 40_000),
        (Meter.TOTAL, 50, None),
    }
    [learned] = await tell(bench, limit=minute(tokens=9_000))
    assert (50, 9_000) in {(limit.requests, limit.tokens) for limit in learned.limits}


async def test_our_own_calls_are_not_taken_for_others(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    await queue(bench)
    await bench.push(count=2_000)
    sent = 0
    for _ in range(100):
        sent += len(await drain(bench, 0.1))
        await tell(bench, limit=minute(requests=600, pace=PACE), used=max(0, sent - 10 * _ // 10))
    assert await booked(bench) == (-1, -1)


async def test_what_others_use_of_a_bucket_is_booked_once(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    limit = minute(requests=600, pace=PACE)
    await tell(bench, limit=limit, used=0)
    await bench.after(1_000)
    await tell_on(bench, limit=limit, used=100)
    found = (await booked(bench))[0]
    assert 98 <= found <= 150, "what they used, and what refilled while that was told"
    await tell(bench, limit=limit, used=100)
    await bench.after(1_000)
    at_once = (await booked(bench))[0]
    await tell(bench, limit=limit, used=90)
    assert (await booked(bench))[0] == at_once, "the bucket refilled by 10, which is no news"


async def test_one_report_that_says_otherwise_keeps_others_unbelieved(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    limit = minute(requests=600, pace=PACE)
    for _ in range(6):
        for used in (200, 200, 200, 0):
            await tell(bench, limit=limit, used=used, reset_ms=60_000, refilled=False)
            await bench.after(500)
    assert await booked(bench) == (-1, -1)


async def test_after_a_refusal_less_is_believed(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    limit = minute(requests=600, pace=PACE)
    await tell_on(bench, limit=limit, used=40, refilled=False, reset_ms=60_000)
    assert await booked(bench) == (-1, -1)
    await bench.engine.pause_budget(SHARD, "c", 0, "429", PauseCause.LIMIT)
    await tell_on(bench, limit=limit, used=40, refilled=False, reset_ms=60_000)
    assert (await booked(bench))[0] >= 39


async def test_what_others_use_of_a_sliding_minute_is_booked_once(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    limit = minute(requests=600, pace=PACE)
    await tell_on(bench, limit=limit, used=100, reset_ms=60_000, refilled=False)
    await tell(bench, limit=limit, used=130, reset_ms=60_000, refilled=False)
    assert (await booked(bench))[0] in (129, 130)  # one is not told from the rounding
    await bench.after(62_000)
    assert (await booked(bench))[0] == 0, "all of it slid out"


@pytest.mark.parametrize("refilled", [False, True])
async def test_a_provider_of_slices_is_not_misread(bench: Bench, refilled: bool) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    for second in range(30):
        reset_ms = 10_000 - second % 10 * 1_000
        await tell(bench, limit=minute(requests=600), used=550, reset_ms=reset_ms, refilled=refilled)
        await bench.after(1_000)
    assert await booked(bench) == (-1, -1)


@pytest.mark.parametrize("age_ms", [61_000, 600_000])
async def test_a_report_of_a_minute_ago_tells_nothing(bench: Bench, age_ms: int) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    await tell(bench, limit=minute(requests=600), used=500, reset_ms=60_000, age_ms=age_ms, refilled=False)
    assert await booked(bench) == (-1, -1)


async def test_a_report_that_is_overtaken_tells_nothing(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    await tell(bench, limit=minute(requests=600), used=0)
    await bench.after(5_000)
    await tell(bench, limit=minute(requests=600), used=0)
    await tell(bench, limit=minute(requests=600), used=400, age_ms=3_000)
    assert await booked(bench) == (-1, -1)


async def test_rounded_figures_are_not_taken_at_their_word(bench: Bench) -> None:
    await bench.limit("c", minute(tokens=40_000, pace=PACE))
    await tell(bench, limit=minute(tokens=40_000), used=0, rounded_to=1_000)
    await bench.after(500)
    await tell(bench, limit=minute(tokens=40_000), used=1_000, rounded_to=1_000)
    assert await booked(bench) == (-1, -1)
    await tell_on(bench, limit=minute(tokens=40_000), used=9_000, rounded_to=1_000, reset_ms=60_000, refilled=False)
    assert (await booked(bench))[1] == 8_000


async def test_others_never_take_all(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    await tell(bench, limit=minute(requests=600), used=0)
    await bench.after(500)
    await tell_on(bench, limit=minute(requests=600), used=600, reset_ms=60_000, refilled=False)
    assert 540 <= (await booked(bench))[0] <= 560


async def test_a_model_that_is_new_starts_with_its_connections_books(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    await queue(bench)
    await bench.push(count=2_000)
    sent = len(await drain(bench, 30))
    await tell(bench, limit=minute(requests=500, pace=PACE))
    assert await booked(bench) == (sent, sent * 10)
    model = (await bench.engine.headroom(SHARD, [MODEL]))[MODEL]
    assert model.in_flight == 0
    await bench.after(62_000)
    assert await booked(bench) == (0, 0)


async def test_leases_from_before_do_not_disturb_the_model(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    await queue(bench)
    await bench.push(count=10)
    claimed = await bench.claim(slots=4)
    await tell(bench, limit=minute(requests=500, pace=PACE))
    await bench.settle(claimed.leases, sent_ago_ms=None)
    assert await booked(bench, "c") == (0, 0)
    rest = await bench.claim(slots=2)
    assert (await bench.engine.headroom(SHARD, [MODEL]))[MODEL].in_flight == len(rest.leases) == 2
    await bench.settle(rest.leases)
    assert (await bench.engine.headroom(SHARD, [MODEL]))[MODEL].in_flight == 0


async def test_places_grow_while_all_are_taken_and_shrink_when_calls_fail(bench: Bench) -> None:
    await bench.limit("c")
    await queue(bench)
    await bench.push(count=5_000)
    await tell(bench, calls=CallsEnded(1, 0, 100, 1, 1_000))
    reached = []
    for _ in range(12):
        leases = (await bench.claim(slots=128)).leases
        reached.append(len(leases))
        await bench.after(1_000)
        await tell(bench, calls=CallsEnded(len(leases), 0, 100 * len(leases), len(leases), 64))
        await bench.settle(leases)
    assert reached[0] <= 5
    assert reached[-1] == 64, reached
    await tell(bench, calls=CallsEnded(10, 5, 1_000, 10, 64))
    await bench.after(100)
    await tell(bench, calls=CallsEnded(10, 5, 1_000, 10, 64))
    assert len((await bench.claim(slots=128)).leases) == int(64 * 0.6), "calls that fail together cut once"


async def test_places_shrink_when_answers_become_slow(bench: Bench) -> None:
    await bench.limit("c")
    await queue(bench)
    await bench.push(count=50_000)
    knee, places = 20, []
    await tell(bench, calls=CallsEnded(1, 0, 200, 1, 1_000))
    for _ in range(120):
        leases = (await bench.claim(slots=128)).leases
        places.append(len(leases))
        took_ms = int(200 * max(1.0, len(leases) / knee))
        await bench.after(max(1_000, took_ms))
        await tell(bench, calls=CallsEnded(len(leases), 0, took_ms * len(leases), len(leases), 1_000))
        await bench.settle(leases)
    steady = places[40:]
    assert knee <= min(steady), "the server is kept busy"
    assert max(steady) <= 3 * knee, "and is not flooded"


async def test_what_was_seen_is_forgotten_in_the_end(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600))
    await tell(bench, limit=minute(requests=900), used=0)
    assert 0 < await bench.redis.ttl(f"{keys.prefix(SHARD)}budget:{MODEL}") <= 7 * 86_400


async def test_a_model_that_was_parked_takes_the_limits_that_were_seen_before(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    await queue(bench)
    await tell(bench, limit=minute(requests=600, pace=PACE))  # as high as the connection's own: no budget
    await bench.engine.set_limits(SHARD, [BudgetDefinition(MODEL, 0, ())])
    await bench.engine.pause_budget(SHARD, MODEL, 60_000, "the quota of the day")
    assert (await bench.engine.headroom(SHARD, [MODEL]))[MODEL].limits == ()
    await tell(bench, limit=minute(requests=600, pace=PACE))
    found = (await bench.engine.headroom(SHARD, [MODEL]))[MODEL]
    assert [each.requests_limit for each in found.limits] == [600]
    assert found.paused_ms > 0


async def test_a_models_budget_that_is_set_later_begins_with_what_its_connection_used(
    bench: Bench,
) -> None:
    number = str(UUID(int=7))
    connection, model = f"connection-{number}", f"model-{number}-0123456789abcdef"
    await bench.limit(connection, minute(requests=100), Limit("SECOND", 50, None))
    await bench.queue(targets=(connection,))
    await bench.push(1, 60)
    await bench.settle((await bench.claim(slots=40)).leases)
    await bench.after(20_000)
    await bench.limit(model, minute(requests=100))
    (limit,) = (await bench.engine.headroom(SHARD, [model]))[model].limits
    assert limit.requests_used == 40
    await bench.after(41_000)
    (limit,) = (await bench.engine.headroom(SHARD, [model]))[model].limits
    assert limit.requests_used == 0


async def test_what_a_person_sets_goes_before_what_was_learned_until_it_is_told_again(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600, pace=PACE))
    await queue(bench)
    await bench.push(count=2_000)
    learned = await tell(bench, limit=minute(requests=60, pace=PACE))
    assert learned
    await drain(bench, 70)
    set_by_hand = BudgetDefinition(MODEL, 1 << 40, (minute(requests=600, pace=PACE),))
    await bench.engine.set_limits(SHARD, [set_by_hand])
    assert len(await drain(bench, 10)) >= 90
    assert await tell(bench, limit=minute(requests=60, pace=PACE)) == learned
    assert await drain(bench, 10) == []
