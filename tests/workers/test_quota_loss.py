"""What was used of a day is not given back by the loss of Redis."""

from __future__ import annotations

import redis.asyncio

from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.status import BatchStatus
from scheduler.domain.work import BudgetKind, budget_id
from tests.polling import eventually
from tests.workers.provider import FakeProvider
from tests.workers.world import World

DAY = 20


async def test_after_the_loss_of_redis_a_quota_goes_on_where_it_was(
    world: World, provider: FakeProvider, empty_redis: str
) -> None:
    connection = await world.connection(provider.base_url, capacity=(Capacity(Period.DAY, requests=DAY),))
    resource = await world.resource(connection)
    budget = budget_id(BudgetKind.CONNECTION, connection.connection_id)
    async with world.worker():
        batch = await world.submit(resource, [f"{i}" for i in range(2 * DAY)])

        async def is_kept() -> bool:
            return [use.requests for use in await world.core.store.quotas.quotas([budget])] == [DAY]

        await eventually(is_kept, "the checkpoint")
        client = redis.asyncio.Redis.from_url(empty_redis)
        await client.flushall()
        await client.aclose()
        shard = await world.shard()

        async def is_back() -> bool:
            await world.core.recovery.ensure(shard)
            found = (await world.core.engine.headroom(shard, [budget])).get(budget)
            return found is not None and found.limits[0].requests_used >= DAY and found.waiting > 0

        await eventually(is_back, "the shard")
    assert len(provider.seen) == DAY
    assert (await world.batch(batch)).status is BatchStatus.RUNNING
