"""checkpoint and restore_quotas: limits per hour and longer, and whose days they count."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scheduler.domain.quota import QuotaUse
from scheduler.domain.work import Limit
from scheduler.engine import keys
from tests.lua.conftest import SHARD, Bench, minute

DAY = Limit("DAY", 100, None)


def at(text: str) -> int:
    """ms of a UTC time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


async def use(bench: Bench, count: int, flow: int = 1) -> int:
    await bench.push(flow, count)
    claimed = await bench.claim(slots=count)
    await bench.settle(claimed.leases)
    return len(claimed.leases)


async def test_what_changed_is_handed_out_once(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600), DAY, Limit("LIFETIME", None, 10_000))
    await bench.queue()
    await bench.engine.checkpoint(SHARD, 500)
    await use(bench, 7)
    found = await bench.engine.checkpoint(SHARD, 500)
    assert {(each.budget_id, each.code, each.requests, each.tokens) for each in found} == {
        ("c", "D", 7, 70),
        ("c", "L", 7, 70),
    }
    assert await bench.engine.checkpoint(SHARD, 500) == ()
    assert await bench.engine.checkpoint(SHARD, 500, ["c", "unknown"]) == found


async def test_budgets_without_quotas_are_never_handed_out(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600))
    await bench.queue()
    await use(bench, 3)
    assert await bench.engine.checkpoint(SHARD, 500) == ()


async def test_after_a_loss_a_quota_holds_what_was_used(bench: Bench) -> None:
    await bench.limit("c", DAY)
    await bench.queue()
    await use(bench, 60)
    kept = await bench.engine.checkpoint(SHARD, 500)
    await bench.redis.flushall()
    await bench.at(bench.now_ms)
    await bench.engine.open_shard(SHARD, 2)
    await bench.limit("c", DAY, spent=True)
    await bench.engine.restore_quotas(SHARD, [*kept, QuotaUse("gone", "D", 1, 1, 1), QuotaUse("c", "W", 1, 1, 1)])
    await bench.queue()
    assert await use(bench, 60) == 40
    await bench.engine.restore_quotas(SHARD, kept)
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].limits[0].requests_used == 100, "never less"


async def test_what_was_used_yesterday_is_not_restored(bench: Bench) -> None:
    await bench.limit("c", DAY)
    await bench.queue()
    await use(bench, 60)
    kept = await bench.engine.checkpoint(SHARD, 500)
    await bench.after(86_400_000)
    await bench.engine.restore_quotas(SHARD, kept)
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].limits[0].requests_used == 0


@pytest.mark.parametrize(
    ("midnight", "zone"),
    [
        ("2026-11-22T00:00:00", ""),
        ("2026-11-22T08:00:00", "us-pacific"),
        ("2026-07-04T07:00:00", "us-pacific"),
        ("2026-03-08T08:00:00", "us-pacific"),  # clocks change at 2:00 of this day
        ("2026-03-09T07:00:00", "us-pacific"),
        ("2026-11-01T07:00:00", "us-pacific"),
        ("2026-11-02T08:00:00", "us-pacific"),
        ("2027-01-01T08:00:00", "us-pacific"),
        ("2028-03-12T08:00:00", "us-pacific"),
        ("2028-03-13T07:00:00", "us-pacific"),
    ],
)
async def test_a_day_begins_at_midnight_of_its_zone(bench: Bench, midnight: str, zone: str) -> None:
    await bench.at(at(midnight) - 60_000)
    await bench.limit("c", Limit("DAY", 5, None, zone=zone))
    await bench.queue()
    await bench.push(count=20)
    assert len((await bench.claim()).leases) == 5
    claimed = await bench.claim()
    assert (len(claimed.leases), claimed.next_due_ms) == (0, 60_000)
    await bench.after(59_999)
    assert len((await bench.claim()).leases) == 0
    await bench.after(1)
    assert len((await bench.claim()).leases) == 5


async def test_a_month_begins_in_its_zone(bench: Bench) -> None:
    await bench.at(at("2026-12-01T07:59:59"))
    await bench.limit("c", Limit("MONTH", 5, None, zone="us-pacific"))
    await bench.queue()
    await bench.push(count=20)
    assert len((await bench.claim()).leases) == 5
    await bench.after(1_000)
    assert len((await bench.claim()).leases) == 5


async def test_accounts_of_addresses_are_forgotten_when_they_count_no_more(bench: Bench) -> None:
    await bench.limit("address-k-1", minute(requests=5))
    await bench.limit("address-k-2", Limit("MONTH", 5, None))
    await bench.limit("key-k", minute(requests=5))
    lives = [await bench.redis.ttl(f"{keys.prefix(SHARD)}budget:{name}") for name in ("address-k-1", "address-k-2")]
    assert [round(life / 86_400) for life in lives] == [2, 40]
    assert await bench.redis.ttl(f"{keys.prefix(SHARD)}budget:key-k") == -1
    await bench.redis.expire(f"{keys.prefix(SHARD)}budget:address-k-1", 60)
    await bench.limit("c")
    await bench.queue()
    await bench.push(count=2, budgets=("address-k-1",))
    await bench.claim()
    assert await bench.redis.ttl(f"{keys.prefix(SHARD)}budget:address-k-1") > 86_400, "use keeps it"
