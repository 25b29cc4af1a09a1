"""After a loss of Redis: leases that are announced, fences that never come again, budgets that presume the worst."""

from __future__ import annotations

import pytest

from scheduler.domain.work import Limit, Settlement
from scheduler.engine import keys
from scheduler.ports.engine import EpochLost
from scheduler.services.shards.recovery import ANNOUNCED_S
from tests.lua.conftest import SHARD, Bench, minute
from workers.renewer import WATCH_S

LEASE_MS = 10_000


async def lose_everything(bench: Bench, epoch: int = 2) -> None:
    """FLUSHALL, and a new epoch that is being recovered."""
    await bench.redis.flushall()
    await bench.at(bench.now_ms)
    await bench.engine.open_shard(SHARD, epoch, recovering=True)


async def define(bench: Bench) -> None:
    await bench.limit("c", max_in_flight=10)
    await bench.queue()


async def test_a_lease_that_redis_lost_is_made_anew_and_settled_under_its_new_fence(bench: Bench) -> None:
    await define(bench)
    await bench.push(count=3)
    leases = (await bench.claim()).leases
    await lose_everything(bench)
    await define(bench)
    await bench.push(count=3)
    names = await bench.engine.announce(SHARD, "w1", LEASE_MS, leases)
    assert set(names) == {lease.ref for lease in leases}
    new = [lease._replace(ref=name) for lease in leases if (name := names[lease.ref]) is not None]
    assert len(new) == 3
    assert {lease.ref.fence.epoch for lease in new} == {2}
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].in_flight == 3
    await bench.engine.recovered(SHARD)
    assert (await bench.claim()).leases == ()
    assert await bench.settle(new) == 0
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].in_flight == 0


async def test_an_entry_that_was_leased_again_is_lost_to_its_earlier_holder(bench: Bench) -> None:
    await define(bench)
    await bench.push(count=1)
    earlier = (await bench.claim()).leases
    await lose_everything(bench)
    await define(bench)
    await bench.push(count=1)
    await bench.engine.recovered(SHARD)
    later = (await bench.claim(holder="w2")).leases
    assert await bench.engine.announce(SHARD, "w1", LEASE_MS, earlier) == {earlier[0].ref: None}
    assert await bench.settle(earlier) == 1
    assert await bench.settle(later) == 0


async def test_no_fence_of_an_earlier_epoch_comes_again(bench: Bench) -> None:
    await define(bench)
    await bench.push(count=2)
    earlier = (await bench.claim()).leases
    await lose_everything(bench)
    await define(bench)
    await bench.push(count=2)
    await bench.engine.recovered(SHARD)
    later = (await bench.claim()).leases
    assert min(lease.ref.fence.number for lease in later) > 2**32 > max(lease.ref.fence.number for lease in earlier)


async def test_a_lease_that_redis_kept_goes_on_under_its_fence(bench: Bench) -> None:
    await define(bench)
    await bench.push(count=1)
    leases = (await bench.claim(lease_ms=1_000)).leases
    await bench.engine.open_shard(SHARD, 2, recovering=True)
    names = await bench.engine.announce(SHARD, "w1", LEASE_MS, leases)
    name = names[leases[0].ref]
    assert name is not None
    assert (name.fence.epoch, name.fence.number) == (2, leases[0].ref.fence.number)
    await bench.after(5_000)
    assert (await bench.engine.reclaim(SHARD, "w2", LEASE_MS))[0] == 0
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].in_flight == 1


async def test_a_lease_of_a_flow_that_is_not_repaired_yet_is_asked_for_again_and_later_lost(bench: Bench) -> None:
    await define(bench)
    await bench.push(count=1)
    leases = (await bench.claim()).leases
    await lose_everything(bench)
    await define(bench)
    assert await bench.engine.announce(SHARD, "w1", LEASE_MS, leases) == {}
    await bench.engine.recovered(SHARD)
    assert await bench.engine.announce(SHARD, "w1", LEASE_MS, leases) == {leases[0].ref: None}


async def test_an_announced_lease_whose_holder_dies_is_reclaimed_and_run_again(bench: Bench) -> None:
    await define(bench)
    await bench.push(count=1)
    leases = (await bench.claim()).leases
    await lose_everything(bench)
    await define(bench)
    await bench.push(count=1)
    await bench.engine.announce(SHARD, "w1", 1_000, leases)
    await bench.engine.recovered(SHARD)
    assert (await bench.claim()).leases == ()
    await bench.after(1_001)
    assert (await bench.engine.reclaim(SHARD, "w2", LEASE_MS))[0] == 1
    again = (await bench.claim()).leases
    assert [lease.entry.crashes for lease in again] == [1]
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].in_flight == 1


async def test_nothing_is_claimed_while_a_shard_is_recovered(bench: Bench) -> None:
    await define(bench)
    await bench.push(count=1)
    await bench.engine.open_shard(SHARD, 2, recovering=True)
    with pytest.raises(EpochLost):
        await bench.claim()
    assert await bench.engine.join_shard(SHARD, 2, await bench.engine.identity(SHARD)) is True
    with pytest.raises(EpochLost):
        await bench.claim()
    await bench.engine.recovered(SHARD)
    assert await bench.engine.join_shard(SHARD, 2, await bench.engine.identity(SHARD)) is False
    assert len((await bench.claim()).leases) == 1


async def test_a_process_that_met_no_loss_notices_it(bench: Bench) -> None:
    await bench.engine.confirm(SHARD)
    await bench.redis.delete(keys.epoch(SHARD))
    with pytest.raises(EpochLost):
        await bench.engine.confirm(SHARD)
    assert bench.engine.agreed_epoch(SHARD) is None


async def test_a_budget_that_is_gone_starts_used_up_whoever_defines_it_during_the_recovery(bench: Bench) -> None:
    await lose_everything(bench)
    await bench.limit("c", minute(requests=100))
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].limits[0].requests_used == 100
    await bench.engine.recovered(SHARD)
    await bench.limit("d", minute(requests=100))
    assert (await bench.engine.headroom(SHARD, ["d"]))["d"].limits[0].requests_used == 0


@pytest.mark.parametrize(("pace", "presumed"), [(1.0, 150), (0.5, 75), (None, 2_980)])
async def test_a_budget_that_was_kept_presumes_what_it_may_lack(
    bench: Bench, pace: float | None, presumed: int
) -> None:
    """A burst of 1 s and two seconds of pace; without a pace all that was left."""
    await bench.limit("c", minute(requests=3_000, pace=pace))
    await bench.queue()
    await bench.push(count=20)
    await bench.settle((await bench.claim()).leases)
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].limits[0].requests_used == 20
    await bench.engine.open_shard(SHARD, 2, recovering=True)
    await bench.limit("c", minute(requests=3_000, pace=pace), spent=True)
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].limits[0].requests_used == 20 + presumed


async def test_a_budget_that_a_kept_shard_does_not_know_presumes_no_more_than_the_others(bench: Bench) -> None:
    """It was made in the seconds that an older copy lacks, or only now: its window is not used up."""
    await bench.limit("c", minute(requests=3_000, pace=1.0))
    await bench.engine.open_shard(SHARD, 2, recovering=True)
    await bench.limit("model", minute(requests=3_000, pace=1.0), spent=True)
    assert (await bench.engine.headroom(SHARD, ["model"]))["model"].limits[0].requests_used == 150


async def test_what_is_gone_stays_so_when_its_recovery_has_to_begin_again(bench: Bench) -> None:
    await lose_everything(bench)
    await bench.engine.open_shard(SHARD, 3, recovering=True)
    await bench.limit("c", minute(requests=3_000, pace=1.0), spent=True)
    assert (await bench.engine.headroom(SHARD, ["c"]))["c"].limits[0].requests_used == 3_000


async def test_what_an_announced_lease_gives_back_was_not_in_the_books(bench: Bench) -> None:
    await bench.limit("c", minute(requests=100, tokens=1_000))
    await bench.queue()
    await bench.push(count=1, tokens=50)
    leases = (await bench.claim()).leases
    await lose_everything(bench)
    await bench.limit("c", minute(requests=100, tokens=1_000))
    await bench.queue()
    await bench.push(count=1, tokens=50)
    names = await bench.engine.announce(SHARD, "w1", LEASE_MS, leases)
    name = names[leases[0].ref]
    assert name is not None
    cheap = leases[0]._replace(ref=name, entry=leases[0].entry._replace(in_tokens=1, out_tokens=0))
    await bench.settle([cheap], sent_ago_ms=None)
    used = (await bench.engine.headroom(SHARD, ["c"]))["c"].limits[0]
    assert (used.requests_used, used.tokens_used) == (100, 1_000)


def test_workers_have_time_to_notice_and_announce() -> None:
    assert ANNOUNCED_S >= 4 * WATCH_S


async def test_the_flow_of_another_batch_does_not_stand_in(bench: Bench) -> None:
    await define(bench)
    await bench.push(1, count=1)
    leases = (await bench.claim()).leases
    await lose_everything(bench)
    await define(bench)
    await bench.push(2, count=1)
    assert await bench.engine.announce(SHARD, "w1", LEASE_MS, leases) == {}


async def test_an_announcement_whose_answer_was_lost_may_be_repeated(bench: Bench) -> None:
    await define(bench)
    await bench.push(count=3)
    held = (await bench.claim(slots=2)).leases
    await lose_everything(bench)
    await define(bench)
    await bench.push(count=3)
    first = await bench.engine.announce(SHARD, "w1", LEASE_MS, held)
    assert None not in first.values()
    assert await bench.engine.announce(SHARD, "w1", LEASE_MS, held) == first
    assert set((await bench.engine.announce(SHARD, "w2", LEASE_MS, held)).values()) == {None}


async def test_a_lease_of_before_the_loss_gives_a_quota_nothing_that_it_never_took(bench: Bench) -> None:
    lifetime = Limit("LIFETIME", None, 1_000)
    await bench.limit("c", lifetime)
    await bench.queue()
    await bench.push(count=3, tokens=400)
    held = (await bench.claim(slots=1)).leases
    await lose_everything(bench)
    bench.versions.clear()
    await bench.limit("c", lifetime, spent=True)
    await bench.queue()
    await bench.push(count=10, tokens=400)
    (name,) = (await bench.engine.announce(SHARD, "w1", LEASE_MS, held)).values()
    assert name is not None
    await bench.engine.settle(SHARD, [Settlement(name, 100, 0, 0)])
    await bench.engine.recovered(SHARD)
    assert len((await bench.claim()).leases) == 2
