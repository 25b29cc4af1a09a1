"""Calls in flight when Redis loses everything, and recoveries that another process began or the next loss overtook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import redis.asyncio

from scheduler.bootstrap import open_core
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.status import BatchStatus
from scheduler.domain.work import BudgetKind, Lease, budget_id
from scheduler.engine import keys
from scheduler.ports.engine import EpochLost
from scheduler.settings import Settings
from tests.polling import eventually
from tests.workers.provider import FakeProvider
from tests.workers.test_process import worker_process
from tests.workers.world import World


async def wipe(redis_url: str) -> None:
    """FLUSHALL."""
    client = redis.asyncio.Redis.from_url(redis_url)
    try:
        await client.flushall()
    finally:
        await client.aclose()


async def test_calls_in_flight_are_announced_after_a_wipe_and_not_made_again(
    world: World, make_settings: Callable[..., Settings], provider: FakeProvider, empty_redis: str
) -> None:
    provider.hold = asyncio.Event()
    connection = await world.connection(provider.base_url, max_in_flight=30)
    resource = await world.resource(connection)
    budget = budget_id(BudgetKind.CONNECTION, connection.connection_id)
    shard = await world.shard()
    async with open_core(make_settings()) as other, world.worker(), world.worker(other):
        batch = await world.submit(resource, [str(number) for number in range(60)])
        await eventually(lambda: len(provider.seen) == 30, "thirty calls in flight")
        await wipe(empty_redis)

        async def all_are_held_again() -> bool:
            if world.core.engine.agreed_epoch(shard) != 2 or await world.core.engine.join_shard(
                shard, 2, await world.core.engine.identity(shard)
            ):
                return False
            return (await world.core.engine.headroom(shard, [budget]))[budget].in_flight == 30

        await eventually(all_are_held_again, "all thirty are announced, and the shard is recovered")
        provider.hold.set()
        ended = await world.ended(batch)
    assert (ended.status, ended.completed, ended.last_event) == (BatchStatus.COMPLETED, 60, 62)
    assert set(provider.calls_per_text().values()) == {1}
    assert (await world.core.engine.headroom(shard, [budget]))[budget].in_flight == 0


async def test_a_recovery_whose_process_died_is_finished_by_another(
    world: World, make_settings: Callable[..., Settings], provider: FakeProvider, empty_redis: str
) -> None:
    shard = await world.shard()
    limit = Capacity(Period.MINUTE, 600, None)
    resource = await world.resource(await world.connection(provider.base_url), capacity=())
    limited = await world.connection(provider.base_url, capacity=(limit,))
    batch = await world.submit(resource, ["one", "two"])
    await wipe(empty_redis)
    # Died after it had opened the new epoch: nothing is defined, nothing is repaired.
    store, engine = world.core.store.shards, world.core.engine
    identity = await engine.identity(shard)
    assert await store.raise_epoch(shard, 1, identity) == 2
    await engine.open_shard(shard, 2, identity, recovering=True)
    async with open_core(make_settings()) as other, world.worker(other):
        ended = await world.ended(batch)
    assert ended.completed == 2
    assert await store.epoch(shard) == (2, identity)
    budget = budget_id(BudgetKind.CONNECTION, limited.connection_id)
    assert (await engine.headroom(shard, [budget]))[budget].limits[0].requests_used == 600
    client = redis.asyncio.Redis.from_url(empty_redis)
    try:
        assert await client.exists(keys.recovery(shard)) == 0
    finally:
        await client.aclose()


async def test_a_process_that_stops_during_a_recovery_leaves_it_to_another(
    world: World, make_settings: Callable[..., Settings], empty_redis: str
) -> None:
    shard = await world.shard()
    await wipe(empty_redis)
    async with open_core(make_settings()) as stopping:
        await stopping.recovery.ensure(shard)
    client = redis.asyncio.Redis.from_url(empty_redis)
    try:
        assert await client.exists(keys.recovery(shard)) == 1, "it was cut short"
        async with open_core(make_settings()) as other:
            await other.recovery.ensure(shard)
            await other.recovery.finished(shard)
        assert await client.exists(keys.recovery(shard)) == 0
    finally:
        await client.aclose()


async def test_a_second_wipe_during_the_recovery_is_recovered_too(
    world: World, provider: FakeProvider, empty_redis: str
) -> None:
    shard = await world.shard()
    resource = await world.resource(await world.connection(provider.base_url))
    async with world.worker():
        batch = await world.submit(resource, [str(number) for number in range(500)])
        await wipe(empty_redis)

        async def is_recovering() -> bool:
            return world.core.engine.agreed_epoch(shard) == 2

        await eventually(is_recovering, "the first recovery")
        await wipe(empty_redis)
        ended = await world.ended(batch)
    assert (ended.completed, ended.last_event) == (500, 502)
    assert (await world.core.store.shards.epoch(shard))[0] == 3


async def test_crashes_of_a_suspect_outlive_the_loss_of_redis(
    world: World, make_settings: Callable[..., Settings], provider: FakeProvider, empty_redis: str
) -> None:
    """Two holders died with it; the third one dies, and all of Redis is lost with it: the count goes on from two."""
    provider.hold = asyncio.Event()
    shard, engine = await world.shard(), world.core.engine
    resource = await world.resource(await world.connection(provider.base_url))
    batch = await world.submit(resource, ["poison"])

    async def claimed(lease_ms: int = 1) -> Sequence[Lease]:
        try:
            got = await engine.claim(
                shard, slots=9, open_slots=9, holder="doomed", lease_ms=lease_ms, crowded=frozenset(), may_suspect=True
            )
        except EpochLost:  # it is still being recovered
            return ()
        return got.leases

    for crashes in range(2):
        (lease,) = await eventually(claimed, "it can be claimed")
        assert lease.entry.crashes == crashes

        async def reclaimed() -> bool:
            return (await engine.reclaim(shard, "other", 1_000))[0] == 1

        await eventually(reclaimed, "its lease is over")
    async with worker_process(make_settings(lease_ms=60_000)) as doomed:
        await eventually(lambda: len(provider.seen) == 1, "a third holder runs it")
        doomed.kill()
        await doomed.wait()
    await wipe(empty_redis)
    await world.core.recovery.ensure(shard)
    (lease,) = await eventually(lambda: claimed(60_000), "it comes back after the loss")
    assert (lease.ref.flow.batch_id, lease.entry.crashes) == (str(batch.batch_id), 2)
