"""What still works while Redis is away: everything but running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from redis.asyncio import Redis

from scheduler.bootstrap import open_core
from scheduler.domain.status import ItemStatus
from scheduler.settings import Settings
from tests.api.server import serving
from tests.api.test_events import frames_of
from tests.api.world import ApiWorld, inhabited, outcome


@pytest.fixture
async def lonely(settings: Settings) -> AsyncIterator[ApiWorld]:
    """A tenant on an API whose Redis does not answer."""
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with open_core(away) as core, inhabited(core) as world:
        yield world


async def test_batches_are_created_read_cancelled_and_followed(lonely: ApiWorld) -> None:
    batch = await lonely.create(3)
    path = f"{lonely.batches}/{batch['batchId']}"
    shown = (await lonely.client.get(path)).json()
    assert (shown["pending"], shown["running"]) == (3, 0)
    assert [each["status"] for each in shown["items"]] == ["PENDING"] * 3
    cancelled = await lonely.client.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (201, "CANCELLED")
    outcomes = [outcome(UUID(batch["batchId"]), seq, ItemStatus.CANCELLED) for seq in (1, 2, 3)]
    await lonely.core.store.outcomes.flush(outcomes, wait_for_locks=True)
    async with asyncio.timeout(20), lonely.client.stream("GET", f"{path}/events") as answer:
        actions = [frame.action async for frame in frames_of(answer)]
    assert actions == ["batch-created", *["item-cancelled"] * 3, "batch-cancelled", "[DONE]"]


async def test_a_redis_without_memory_takes_a_pause(world: ApiWorld, empty_redis: str) -> None:
    batch = await world.create(2, capacity=[{"period": "MINUTE", "requests": 10}])
    path = f"{world.batches}/{batch['batchId']}"
    redis = Redis.from_url(empty_redis)
    try:
        await redis.config_set("maxmemory", 1)
        paused = await world.client.post(f"{path}/pause")
        resumed = await world.client.post(f"{path}/resume")
    finally:
        await redis.config_set("maxmemory", 0)
        await redis.aclose()
    assert paused.status_code == 200
    assert (resumed.status_code, resumed.json()["errorCode"]) == (503, "UNAVAILABLE")


async def test_readiness_and_pauses_say_so(lonely: ApiWorld) -> None:
    ready = await lonely.client.get("/health/ready")
    assert (ready.status_code, ready.json()["errorCode"]) == (503, "UNAVAILABLE")
    assert ready.json()["details"]["missing"] == ["redis"]
    assert int(ready.headers["retry-after"]) >= 1
    assert (await lonely.client.get("/health/live")).status_code == 200
    batch = await lonely.create(1)
    paused = await lonely.client.post(f"{lonely.batches}/{batch['batchId']}/pause")
    assert (paused.status_code, paused.json()["errorCode"]) == (503, "UNAVAILABLE")
    assert "retry-after" in paused.headers


async def test_a_batch_is_read_while_redis_hangs(
    settings: Settings, empty_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reader in ("batches.progress", "explain.explanation"):
        monkeypatch.setattr(f"scheduler.services.{reader}.PATIENCE_S", 0.1)
    redis = Redis.from_url(empty_redis)
    async with open_core(settings.model_copy(update={"read_patience_s": 1.0})) as core, serving(core) as url:
        world = ApiWorld(core, url)
        try:
            await world.set_up()
            batch = await world.create(2)
            await world.finish(batch["batchId"], [1])
            await redis.client_pause(1_500)
            path = f"{world.batches}/{batch['batchId']}"
            shown = await world.client.get(path)
            item = await world.client.get(f"{path}/{shown.json()['items'][1]['itemId']}")
        finally:
            await redis.ping()  # it goes on
            await world.close()
            await redis.aclose()
    assert (shown.status_code, shown.json()["completed"], shown.json()["running"]) == (200, 1, 0)
    assert [each["status"] for each in shown.json()["items"]] == ["COMPLETED", "PENDING"]
    assert (item.status_code, item.json()["status"]) == (200, "PENDING")
