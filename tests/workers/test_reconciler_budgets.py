"""The budget of a batch outlives those of its flows that ended long before the others."""

from __future__ import annotations

from datetime import datetime, timedelta

import redis.asyncio

from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.work import BudgetKind, budget_id
from scheduler.engine import keys
from tests.workers.world import NOW, World
from workers.reconciler import KEEP_BUDGETS, Reconciler


async def test_the_budget_of_a_live_batch_does_not_expire(world: World, empty_redis: str) -> None:
    resource = await world.resource(await world.connection("http://127.0.0.1:9"))
    batch = await world.submit(resource, ["one", "two"], capacity=(Capacity(Period.MINUTE, 10, None),))
    core, shard, now = world.core, await world.shard(), NOW
    key = f"{keys.prefix(shard)}budget:{budget_id(BudgetKind.BATCH, batch.batch_id)}"

    def clock() -> datetime:
        return now

    reconciler = Reconciler(core.store, core.engine, core.recovery, lambda: [shard], clock)
    async with redis.asyncio.Redis.from_url(empty_redis) as client:
        assert await client.exists(key)
        # As when one of several flows of the batch ended.
        await client.expire(key, 86_400)
        await reconciler.run_once()
        assert await client.ttl(key) == -1
        await client.expire(key, 86_400)
        await reconciler.run_once()
        assert await client.ttl(key) > 0, "it is looked at once an hour only"
        now += KEEP_BUDGETS + timedelta(seconds=1)
        await reconciler.run_once()
        assert await client.ttl(key) == -1
