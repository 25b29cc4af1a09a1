"""A quota whose zone or meter changes within its period goes on with what was used, also through a loss of Redis."""

from __future__ import annotations

import pytest

from scheduler.domain.quota import QuotaUse
from scheduler.domain.work import Limit, Meter, Refund, Release
from tests.lua.conftest import SHARD, Bench, minute
from tests.lua.test_quotas import at, use

PACIFIC = "us-pacific"
NIGHT = "2026-11-22T03:00:00"
"""In Pacific time it is still the 21st."""
DAY_MS = 86_400_000


def day(zone: str = "", requests: int = 10, meter: Meter = Meter.TOTAL) -> Limit:
    return Limit("DAY", requests, 1_000, meter=meter, zone=zone)


async def used(bench: Bench, limit: int = 0) -> tuple[int, int]:
    found = (await bench.engine.headroom(SHARD, ["c"]))["c"].limits[limit]
    return found.requests_used, found.tokens_used


@pytest.mark.parametrize("period", ["DAY", "WEEK", "MONTH"])
@pytest.mark.parametrize(("before", "after"), [("", PACIFIC), (PACIFIC, "")])
@pytest.mark.parametrize("now", ["2026-11-30T23:00:00", "2026-12-01T03:00:00", "2026-12-01T12:00:00"])
async def test_in_another_zone_it_begins_with_what_was_used(
    bench: Bench, period: str, before: str, after: str, now: str
) -> None:
    await bench.at(at(now))
    await bench.limit("c", Limit(period, 10, None, zone=before))
    await bench.queue()
    assert await use(bench, 6) == 6
    await bench.limit("c", Limit(period, 10, None, zone=after))
    assert await used(bench) == (6, 60)
    assert await use(bench, 30, flow=2) == 4
    await bench.after(32 * DAY_MS)
    assert await used(bench) == (0, 0)


async def test_it_ends_with_the_period_of_its_new_zone(bench: Bench) -> None:
    await bench.at(at(NIGHT))
    await bench.limit("c", day())
    await bench.queue()
    await use(bench, 30)
    await bench.limit("c", day(PACIFIC))
    await bench.at(at("2026-11-22T07:59:59"))
    assert await used(bench) == (10, 100)
    await bench.after(1_000)
    assert await used(bench) == (0, 0)


async def test_what_it_never_counted_is_not_given_back_to_it(bench: Bench) -> None:
    await bench.at(at("2026-11-21T23:59:58"))
    await bench.limit("c", day())
    await bench.queue()
    await bench.push(count=3)
    unsent = (await bench.claim()).leases
    await bench.after(4_000)  # a new day in UTC, not in Pacific time
    assert await use(bench, 2, flow=2) == 2
    await bench.limit("c", day(PACIFIC))
    await bench.engine.release(SHARD, [Release(lease.ref, 60_000, False, Refund.ALL, None) for lease in unsent])
    assert await used(bench) == (2, 20)


async def test_what_is_booked_after_the_change_is_given_back(bench: Bench) -> None:
    await bench.at(at(NIGHT))
    await bench.limit("c", day())
    await bench.limit("c", day(PACIFIC))
    await bench.queue()
    await bench.after(1_000)
    await bench.push(count=3)
    unsent = (await bench.claim()).leases
    await bench.engine.release(SHARD, [Release(lease.ref, 60_000, False, Refund.ALL, None) for lease in unsent])
    assert await used(bench) == (0, 0)


@pytest.mark.parametrize(
    ("before", "after", "tokens"),
    [
        (Meter.TOTAL, Meter.INPUT, 60),
        (Meter.INPUT, Meter.TOTAL, 60),
        (Meter.OUTPUT, Meter.INPUT, 0),
    ],
)
async def test_that_counts_other_tokens_from_now_on_it_begins_with_what_was_used(
    bench: Bench, before: Meter, after: Meter, tokens: int
) -> None:
    """As when a connection's provider changes from one of total tokens to one of input tokens and of its own days."""
    await bench.at(at(NIGHT))
    await bench.limit("c", day(meter=before))
    await bench.queue()
    await use(bench, 6)
    await bench.limit("c", day(PACIFIC, meter=after))
    assert await used(bench) == (6, tokens)
    assert await use(bench, 30, flow=2) == 4


async def test_one_that_comes_beside_another_begins_empty(bench: Bench) -> None:
    await bench.limit("c", day())
    await bench.queue()
    await use(bench, 6)
    await bench.limit("c", day(), day(meter=Meter.INPUT), Limit("WEEK", 10, None))
    assert [await used(bench, limit) for limit in range(3)] == [(6, 60), (0, 0), (0, 0)]


async def test_a_checkpoint_says_whose_days_it_counted(bench: Bench) -> None:
    await bench.limit("c", day(PACIFIC), Limit("WEEK", 100, None))
    uses = (await bench.engine.checkpoint(SHARD, 500)).uses
    assert {(each.code, each.zone) for each in uses} == {("D", PACIFIC), ("W", "")}


@pytest.mark.parametrize(
    ("counted", "zone", "now", "present_zone", "restored"),
    [
        ("2026-11-22T03:00:00", "", "2026-11-22T03:00:00", PACIFIC, 6),
        ("2026-11-22T03:00:00", PACIFIC, "2026-11-22T03:00:00", "", 6),
        # The Pacific 21st ended at 8:00 of the 22nd, whose first hours it may have been used in.
        ("2026-11-21T12:00:00", PACIFIC, "2026-11-22T09:00:00", "", 6),
        ("2026-11-20T12:00:00", PACIFIC, "2026-11-22T09:00:00", "", 0),
        # The 21st of UTC overlaps the Pacific 21st until this ends.
        ("2026-11-21T02:00:00", "", "2026-11-22T07:59:59", PACIFIC, 6),
        ("2026-11-21T02:00:00", "", "2026-11-22T08:00:00", PACIFIC, 0),
        ("2026-11-21T12:00:00", "", "2026-11-22T03:00:00", "", 0),
    ],
)
async def test_after_a_loss_it_holds_what_was_used_in_a_period_that_overlaps(
    bench: Bench, counted: str, zone: str, now: str, present_zone: str, restored: int
) -> None:
    await bench.at(at(counted))
    await bench.limit("c", day(zone))
    await bench.queue()
    await use(bench, 6)
    kept = (await bench.engine.checkpoint(SHARD, 500)).uses
    await bench.redis.flushall()
    await bench.at(at(now))
    await bench.engine.open_shard(SHARD, 2)
    await bench.limit("c", minute(), day(present_zone), spent=True)
    await bench.engine.restore_quotas(SHARD, kept)
    assert (await used(bench, 1))[0] == restored


async def test_after_a_loss_one_that_counts_other_tokens_now_holds_what_was_used(bench: Bench) -> None:
    await bench.at(at(NIGHT))
    await bench.limit("c", day())
    kept = (await bench.engine.checkpoint(SHARD, 500)).uses[0]
    await bench.limit("c", day(PACIFIC, meter=Meter.INPUT), Limit("HOUR", 10, None))
    await bench.engine.restore_quotas(SHARD, [kept._replace(requests=6, tokens=60)])
    assert [await used(bench, limit) for limit in range(2)] == [(6, 60), (0, 0)]
    # Beside one that goes on the others are left alone.
    await bench.limit("d", day(), day(meter=Meter.INPUT))
    await bench.engine.restore_quotas(SHARD, [QuotaUse("d", "D", kept.period_index, 5, 50)])
    found = (await bench.engine.headroom(SHARD, ["d"]))["d"].limits
    assert [(each.requests_used, each.tokens_used) for each in found] == [(5, 50), (0, 0)]


async def test_after_a_loss_tokens_in_and_out_make_up_a_total(bench: Bench) -> None:
    await bench.at(at(NIGHT))
    await bench.limit("c", day(meter=Meter.INPUT), day(meter=Meter.OUTPUT))
    first, second = (await bench.engine.checkpoint(SHARD, 500)).uses
    kept = [first._replace(requests=6, tokens=500), second._replace(requests=6, tokens=300)]
    await bench.limit("c", day(requests=20))
    await bench.engine.restore_quotas(SHARD, kept)
    assert await used(bench) == (6, 800)
    # Its own checkpoint holds theirs.
    await bench.engine.restore_quotas(SHARD, [*kept, first._replace(code="D", requests=7, tokens=900)])
    assert await used(bench) == (7, 900)
