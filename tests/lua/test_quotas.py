"""checkpoint and restore_quotas: limits per hour and longer, and whose days they count."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from scheduler.domain.quota import QuotaHandout, QuotaUse
from scheduler.domain.work import Limit
from scheduler.engine import keys
from tests.lua.conftest import SHARD, Bench, minute

DAY = Limit("DAY", 100, None)
HANDED_MS = 15_000
"""HANDED_MS of lua/checkpoint.lua."""


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
    before = await bench.engine.checkpoint(SHARD, 500)
    await use(bench, 7)
    found = await bench.engine.checkpoint(SHARD, 500, before.receipt)
    assert {(each.budget_id, each.code, each.requests, each.tokens) for each in found.uses} == {
        ("c", "D", 7, 70),
        ("c", "L", 7, 70),
    }
    assert (await bench.engine.checkpoint(SHARD, 500)).uses == ()
    assert (await bench.engine.checkpoint(SHARD, 500, found.receipt)).uses == ()
    await bench.after(HANDED_MS)
    assert (await bench.engine.checkpoint(SHARD, 500)).uses == (), "it is stored"


async def test_what_nobody_said_to_be_stored_is_handed_out_again(bench: Bench) -> None:
    await bench.limit("c", Limit("DAY", 10, None))
    await bench.queue()
    assert await use(bench, 30) == 10
    lost = await bench.engine.checkpoint(SHARD, 500)  # its caller dies before it is stored
    await bench.after(HANDED_MS - 1)
    assert (await bench.engine.checkpoint(SHARD, 500)).uses == ()
    await bench.after(1)
    again = await bench.engine.checkpoint(SHARD, 500)
    assert again.uses == lost.uses
    await bench.engine.checkpoint(SHARD, 500, lost.receipt)  # late: it went to another meanwhile
    await bench.after(HANDED_MS)
    third = await bench.engine.checkpoint(SHARD, 500)
    assert third.uses == lost.uses, "the second died as well"
    await bench.engine.checkpoint(SHARD, 500, third.receipt)
    await bench.after(HANDED_MS)
    assert (await bench.engine.checkpoint(SHARD, 500)).uses == ()


async def test_what_changes_while_it_is_stored_is_handed_out_as_well(bench: Bench) -> None:
    await bench.limit("c", DAY)
    await bench.queue()
    await use(bench, 3)
    first = await bench.engine.checkpoint(SHARD, 500)
    await use(bench, 2, flow=2)
    second = await bench.engine.checkpoint(SHARD, 500)  # in the same ms, by another caller, which dies
    assert [each.requests for each in (*first.uses, *second.uses)] == [3, 5]
    assert (await bench.engine.checkpoint(SHARD, 500, first.receipt)).uses == ()
    await bench.after(HANDED_MS + 1)  # receipts of one ms are numbered on
    assert (await bench.engine.checkpoint(SHARD, 500)).uses == second.uses


async def test_an_answer_is_bounded_also_by_what_comes_back(bench: Bench) -> None:
    for number in range(5):
        await bench.limit(f"c{number}", DAY)
    await bench.queue(targets=[f"c{number}" for number in range(5)])
    assert len((await bench.engine.checkpoint(SHARD, 3)).uses) == 3
    await bench.after(HANDED_MS)
    seen = [await bench.engine.checkpoint(SHARD, 2) for _ in range(4)]
    assert [len(each.uses) for each in seen] == [2, 2, 1, 0]
    assert {use.budget_id for each in seen for use in each.uses} == {f"c{number}" for number in range(5)}


async def test_a_budget_that_has_no_quota_any_more_is_forgotten(bench: Bench) -> None:
    await bench.limit("c", DAY)
    await bench.limit("d", DAY)
    await bench.engine.checkpoint(SHARD, 500)
    await bench.limit("c", minute(requests=5))
    await bench.redis.delete(f"{keys.prefix(SHARD)}budget:d")
    await bench.after(HANDED_MS)
    assert (await bench.engine.checkpoint(SHARD, 500)).uses == ()
    assert await bench.redis.exists(f"{keys.prefix(SHARD)}quotas-handed") == 0


@pytest.mark.parametrize("seed", range(8))
async def test_whoever_dies_when_all_that_was_used_gets_stored(bench: Bench, seed: int) -> None:
    """Two callers ask, store and receipt in any order; each may die in between, or be told late; some calls are
    repeated."""
    draw = random.Random(seed)
    await bench.limit("c", Limit("DAY", 1_000, None))
    await bench.limit("d", Limit("MONTH", 1_000, None))
    await bench.queue()
    stored: dict[str, int] = {}
    held: dict[int, QuotaHandout] = {}
    receipts: list[int] = []
    used = 0

    def store(handout: QuotaHandout) -> None:
        for each in handout.uses:
            stored[each.budget_id] = max(stored.get(each.budget_id, 0), each.requests)
        receipts.append(handout.receipt)

    for step in range(40):
        caller = draw.randrange(2)
        match draw.randrange(6):
            case 0:
                await bench.push(100 + step, 1, budgets=["d"] if draw.randrange(2) else [])
                used += len((await bench.claim()).leases)
            case 1 | 2:
                # Also before what it holds is stored: then that call's answer was lost.
                held[caller] = await bench.engine.checkpoint(SHARD, 1, draw.choice(receipts) if receipts else None)
            case 3 | 4 if caller in held:
                store(held.pop(caller))
            case _:
                await bench.after(draw.choice((1, 3_000, HANDED_MS)))
    for _ in range(2):
        await bench.after(2 * HANDED_MS)
        store(await bench.engine.checkpoint(SHARD, 500))
    found = await bench.engine.headroom(SHARD, ["c", "d"])
    assert stored == {budget: each.limits[0].requests_used for budget, each in found.items()}
    assert stored["c"] == used


async def test_budgets_without_quotas_are_never_handed_out(bench: Bench) -> None:
    await bench.limit("c", minute(requests=600))
    await bench.queue()
    await use(bench, 3)
    assert (await bench.engine.checkpoint(SHARD, 500)).uses == ()


async def test_after_a_loss_a_quota_holds_what_was_used(bench: Bench) -> None:
    await bench.limit("c", DAY)
    await bench.queue()
    await use(bench, 60)
    kept = (await bench.engine.checkpoint(SHARD, 500)).uses
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
    kept = (await bench.engine.checkpoint(SHARD, 500)).uses
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


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        ("2026-03-08T08:30:00", 22.5),  # a day of 23 hours
        ("2026-11-01T07:30:00", 24.5),  # and one of 25
        ("2026-11-01T18:00:00", 14.0),  # after its change
    ],
)
async def test_who_waits_for_the_end_of_a_day_is_looked_at_when_it_ends(bench: Bench, now: str, hours: float) -> None:
    await bench.at(at(now))
    await bench.limit("c", Limit("DAY", 5, None, zone="us-pacific"))
    await bench.queue()
    await bench.push(count=20)
    assert len((await bench.claim()).leases) == 5
    assert (await bench.claim()).next_due_ms == hours * 3_600_000
    await bench.after(int(hours * 3_600_000) - 1)
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


async def test_a_window_beside_a_quota_gives_back_all_it_counted_whoever_looks_first(bench: Bench) -> None:
    await bench.limit("c", minute(requests=60), DAY)
    await bench.queue()
    await use(bench, 40)
    for _ in range(260):
        await bench.after(250)
        await bench.engine.checkpoint(SHARD, 500)
    (window, _) = (await bench.engine.headroom(SHARD, ["c"]))["c"].limits
    assert window.requests_used == 0
    assert await use(bench, 60, flow=2) == 60
