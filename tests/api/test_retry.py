"""POST …/retry: states, events after it, and results."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from scheduler.domain.status import ItemStatus
from tests.api.test_events import collected, following
from tests.api.world import ApiWorld


async def failed_batch(world: ApiWorld) -> str:
    """An ended batch of three: 1 completed, 2 and 3 failed. Its last event is 5."""
    batch = await world.create(3)
    await world.finish(batch["batchId"], [1])
    await world.finish(batch["batchId"], [2, 3], ItemStatus.FAILED)
    return str(batch["batchId"])


async def retried(world: ApiWorld, batch_id: str, body: Any = None, status: int = 200) -> Any:
    """The answer of a retry."""
    path = f"{world.batches}/{batch_id}/retry"
    answer = await (world.client.post(path) if body is None else world.client.post(path, json=body))
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_retry_opens_the_batch_and_only_its_failed_items(world: ApiWorld) -> None:
    batch_id = await failed_batch(world)
    batch = await retried(world, batch_id)
    assert (batch["status"], batch["completedAt"]) == ("RUNNING", None)
    assert [batch[name] for name in ("pending", "running", "completed", "failed")] == [2, 0, 1, 0]
    whole = (await world.client.get(f"{world.batches}/{batch_id}")).json()
    assert [each["status"] for each in whole["items"]] == ["COMPLETED", "PENDING", "PENDING"]
    claimed = await world.core.engine.claim(
        await world.shard(), slots=9, open_slots=9, holder="h", lease_ms=5_000, crowded=frozenset()
    )
    assert [(lease.ref.position, lease.entry.run) for lease in claimed.leases] == [(2, 2), (3, 2)]
    assert (await retried(world, batch_id, status=409))["errorCode"] == "INVALID_STATE"


async def test_events_go_on_after_done_for_old_readers_and_new(world: ApiWorld) -> None:
    batch_id = await failed_batch(world)
    before = await collected(world, batch_id)
    assert [frame.event_id for frame in before] == [1, 2, 3, 4, 5, None]
    await retried(world, batch_id)
    async with following(world, batch_id, after=5) as frames, asyncio.timeout(15):
        await world.finish(batch_id, [2], run=2)
        second = await anext(frames)
        assert (second.event_id, second.action, second.payload["status"]) == (6, "item-completed", "COMPLETED")
        await world.finish(batch_id, [3], ItemStatus.FAILED, run=2)
        rest = [frame async for frame in frames]
    assert [(frame.event_id, frame.action) for frame in rest] == [
        (7, "item-failed"),
        (8, "batch-failed"),
        (None, "[DONE]"),
    ]
    assert (rest[1].payload["completed"], rest[1].payload["failed"]) == (2, 1)
    whole = await collected(world, batch_id)
    assert [frame.event_id for frame in whole] == [*range(1, 9), None]
    assert [frame.action for frame in whole[2:5]] == ["item-failed", "item-failed", "batch-failed"]
    assert (whole[4].payload["completed"], whole[4].payload["failed"]) == (1, 2)


async def test_results_hold_each_item_once(world: ApiWorld) -> None:
    batch_id = await failed_batch(world)
    path = f"{world.batches}/{batch_id}/results"

    async def ended(**params: Any) -> list[tuple[str, str]]:
        lines = (await world.client.get(path, params=params)).text.splitlines()
        return [(json.loads(line)["customId"], json.loads(line)["status"]) for line in lines]

    assert await ended() == [("c1", "COMPLETED"), ("c2", "FAILED"), ("c3", "FAILED")]
    await retried(world, batch_id)
    assert await ended() == [("c1", "COMPLETED")]
    await world.finish(batch_id, [3, 2], run=2)
    assert await ended() == [("c1", "COMPLETED"), ("c3", "COMPLETED"), ("c2", "COMPLETED")]
    assert await ended(after=5, status="COMPLETED") == [("c3", "COMPLETED"), ("c2", "COMPLETED")]


async def test_results_tail_across_a_retry_until_the_new_end(world: ApiWorld) -> None:
    batch_id = await failed_batch(world)
    await retried(world, batch_id)
    told: list[str] = []
    async with (
        asyncio.timeout(15),
        world.client.stream("GET", f"{world.batches}/{batch_id}/results?follow=true") as answer,
    ):
        async for line in answer.aiter_lines():
            told.append(json.loads(line)["customId"])
            if told == ["c1"]:
                await world.finish(batch_id, [2], run=2)
            elif told == ["c1", "c2"]:
                await world.finish(batch_id, [3], ItemStatus.FAILED, run=2)
    assert told == ["c1", "c2", "c3"]


async def test_single_items_and_bad_requests(world: ApiWorld) -> None:
    batch_id = await failed_batch(world)
    items = (await world.client.get(f"{world.batches}/{batch_id}")).json()["items"]
    other = (await world.create(1))["batchId"]
    foreign = (await world.client.get(f"{world.batches}/{other}")).json()["items"][0]["itemId"]
    missing = await retried(world, batch_id, {"items": [foreign]}, 404)
    assert missing["errorCode"] == "COMPLETION_BATCH_ITEM_NOT_FOUND"
    wrong: tuple[dict[str, Any], ...] = ({"items": []}, {"items": "all"}, {"itemz": []})
    for body in wrong:
        assert (await retried(world, batch_id, body, 422))["errorCode"] == "VALIDATION_ERROR"
    unchanged = await retried(world, batch_id, {"items": [items[0]["itemId"]]})
    assert unchanged["status"] == "FAILED"
    one = await retried(world, batch_id, {"items": [items[2]["itemId"]]})
    assert [one[name] for name in ("pending", "completed", "failed")] == [1, 1, 1]
    assert (await retried(world, other, status=409))["errorCode"] == "INVALID_STATE"
    assert (await retried(world, world.resource, status=404))["errorCode"] == "COMPLETION_BATCH_NOT_FOUND"
