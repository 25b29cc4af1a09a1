"""Limits of API keys: they hold for what waits already, and per caller address also for direct calls; quotas outlast
what Redis keeps of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio

from scheduler.domain.status import ItemStatus
from scheduler.engine import keys
from tests.api.test_change import claimed
from tests.api.world import ApiWorld
from tests.workers.provider import FakeProvider, running_provider
from workers.checkpointer import Checkpointer

PER_ADDRESS = {"dimension": "source-ip"}


@pytest.fixture
async def provider(world: ApiWorld) -> AsyncIterator[FakeProvider]:
    """A provider behind model `m`."""
    async with running_provider() as provider:
        body = {"name": "p", "provider": "openai-compatible", "config": {"baseUrl": provider.base_url}}
        await world.made(world.at("ai-connection"), body)
        await world.made(world.at("ai-resource"), {"name": "m", "model": {"connectionName": "p", "model": "m"}})
        yield provider


async def limit_key(world: ApiWorld, *capacity: dict[str, Any]) -> None:
    """Set the limits of the key that the client uses."""
    path = f"{world.at('api-key')}/{world.key_id}"
    assert (await world.admin.put(path, json={"capacity": list(capacity)})).status_code == 200


async def call(world: ApiWorld) -> int:
    """The status of a direct call that does not wait."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    answer = await world.client.post("/v1/chat/completions", json=body, headers={"Brim-Max-Wait": "0"})
    return answer.status_code


async def checkpoint(world: ApiWorld) -> int:
    """Store what is used of quotas."""
    shard = await world.shard()
    return (await Checkpointer(world.core.store.quotas, world.core.engine, lambda: [shard]).run_once()).quotas


async def lose_redis(url: str) -> None:
    """Everything in it."""
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.flushall()


async def test_a_limit_that_a_key_gets_holds_for_what_waits_already(world: ApiWorld) -> None:
    await world.create(20)
    await limit_key(world, {"period": "MINUTE", "requests": 3})
    assert await claimed(world) == 3
    await limit_key(world, {"period": "MINUTE", "requests": 5})
    assert await claimed(world) == 2
    await limit_key(world)
    assert await claimed(world) == 15


async def test_a_limit_per_address_that_changes_holds_for_what_waits_already(world: ApiWorld) -> None:
    await limit_key(world, {"period": "MINUTE", "requests": 3, **PER_ADDRESS})
    await world.create(20)
    assert await claimed(world) == 3
    await limit_key(world, {"period": "MINUTE", "requests": 5, **PER_ADDRESS})
    assert await claimed(world) == 2
    await limit_key(world)
    assert await claimed(world) == 15


async def test_a_limit_per_address_that_changes_holds_for_direct_calls(world: ApiWorld, provider: FakeProvider) -> None:
    await limit_key(world, {"period": "DAY", "requests": 1, **PER_ADDRESS})
    assert [await call(world) for _ in range(2)] == [200, 429]
    await limit_key(world, {"period": "DAY", "requests": 3, **PER_ADDRESS})
    assert [await call(world) for _ in range(3)] == [200, 200, 429]
    await limit_key(world, {"period": "DAY", "requests": 2, **PER_ADDRESS})
    assert await call(world) == 429
    await limit_key(world)
    assert await call(world) == 200
    assert len(provider.seen) == 4


async def test_what_an_address_used_of_its_day_outlasts_redis(
    world: ApiWorld, provider: FakeProvider, empty_redis: str
) -> None:
    await limit_key(world, {"period": "DAY", "requests": 2, **PER_ADDRESS})
    assert [await call(world) for _ in range(2)] == [200, 200]
    assert await checkpoint(world) == 1
    await lose_redis(empty_redis)
    await world.core.recovery.ensure(await world.shard())
    await world.core.recovery.finished(await world.shard())
    assert await call(world) == 429
    assert len(provider.seen) == 2


async def test_what_a_batch_used_of_its_lifetime_outlasts_its_end(world: ApiWorld, empty_redis: str) -> None:
    capacity = [{"period": "LIFETIME", "requests": 3}]
    batch_id = (await world.create(3, capacity=capacity))["batchId"]
    assert await claimed(world) == 3
    assert await checkpoint(world) == 1
    await world.finish(batch_id, [1, 2, 3], ItemStatus.FAILED)
    async with redis.asyncio.Redis.from_url(empty_redis) as client:
        gone = [name async for name in client.scan_iter(f"*{batch_id}*")]
        assert len(gone) >= 2
        await client.delete(*gone, f"{keys.prefix(await world.shard())}leases")  # as a day after its end
    assert (await world.client.post(f"{world.batches}/{batch_id}/retry")).status_code == 200
    assert await claimed(world) == 0
    answer = await world.client.patch(f"{world.batches}/{batch_id}", json={"capacity": None})
    assert answer.status_code == 200
    assert await claimed(world) == 3
