"""A Redis at its maxmemory: what takes work back still works, and what is refused comes later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from scheduler.domain.batch import Batch, BatchChange
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.setup import Resource
from scheduler.services.batches.control_state import tell_control_state
from tests.workers.test_reconciler_control import claimed, reconciler_of, states_of
from tests.workers.world import World

ONE = BatchChange(capacity=(Capacity(Period.LIFETIME, 1, None),))


@asynccontextmanager
async def full(redis_url: str) -> AsyncIterator[None]:
    """Redis has no memory left for the length of the block."""
    redis = Redis.from_url(redis_url)
    try:
        await redis.config_set("maxmemory", 1)
        yield
    finally:
        await redis.config_set("maxmemory", 0)
        await redis.aclose()


async def offered(world: World) -> Resource:
    """A resource of which nothing is called."""
    return await world.resource(await world.connection("http://127.0.0.1:9"))


async def set_paused(world: World, batch: Batch, paused: bool) -> Batch:
    """The batch as Postgres has it then, which nobody told the engine."""
    after = await world.core.store.batches.set_paused(world.environment_id, batch.batch_id, paused)
    assert after is not None
    return after


async def test_a_pause_needs_no_memory_and_its_limits_follow(world: World, empty_redis: str) -> None:
    batch = await world.submit(await offered(world), ["one", "two", "three"])
    store, engine, shard = world.core.store, world.core.engine, await world.shard()
    reconciler = reconciler_of(world, shard)
    await reconciler.run_once()
    assert await store.batches.change(world.environment_id, batch.batch_id, ONE)
    paused = await set_paused(world, batch, True)
    flows = await store.batches.flows(batch.batch_id)
    async with full(empty_redis):
        await tell_control_state(store, engine, shard, paused, flows)
        assert [state.paused for state in await states_of(world, batch)] == [True]
        assert (await reconciler.run_once()).told == 0, "the limits are refused, nothing else"
    assert (await reconciler.run_once()).told == 0
    # The pause ends by the flow alone, as a refill would end it: the limits must have come by then.
    await set_paused(world, batch, False)
    [flow] = await store.batches.flows(batch.batch_id)
    await world.core.recovery.repair(shard, await world.batch(batch), flow)
    assert await claimed(world) == 1


async def test_what_cannot_be_told_holds_up_no_pause_of_another_batch(world: World, empty_redis: str) -> None:
    resource = await offered(world)
    changed, paused = [await world.submit(resource, ["one", "two"]) for _ in range(2)]
    reconciler = reconciler_of(world, await world.shard())
    await reconciler.run_once()
    assert await world.core.store.batches.change(world.environment_id, changed.batch_id, ONE)
    await set_paused(world, paused, True)
    async with full(empty_redis):
        assert (await reconciler.run_once()).told == 1
        assert [state.paused for state in await states_of(world, paused)] == [True]
        assert (await reconciler.run_once()).told == 0
    assert (await reconciler.run_once()).told == 1
    assert await claimed(world) == 1, "of the changed one, as its new limit says"
