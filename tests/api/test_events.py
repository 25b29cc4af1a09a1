"""Event streams: complete, in order, resumable, live."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from scheduler.domain.status import ItemStatus
from scheduler.services.batches.event_stream import EventStream
from scheduler.services.callers.tenants import Tenants
from tests.api.world import ApiWorld, item


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a stream."""

    event_id: int | None
    data: str

    @property
    def action(self) -> str:
        """Its action, or the bare marker."""
        return str(json.loads(self.data)["action"]) if self.data.startswith("{") else self.data

    @property
    def payload(self) -> Any:
        """What it carries."""
        return json.loads(self.data)["payload"]


@asynccontextmanager
async def following(world: ApiWorld, batch_id: str, after: int | None = None) -> AsyncIterator[AsyncIterator[Frame]]:
    """The frames of a batch, as they come."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    async with world.client.stream("GET", f"{world.batches}/{batch_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield frames_of(answer)


async def frames_of(answer: httpx.Response) -> AsyncIterator[Frame]:
    """Parse a stream as strictly as the contract writes it."""
    event_id: int | None = None
    buffered = ""
    async for text in answer.aiter_text():
        buffered += text
        while "\n\n" in buffered:
            frame, buffered = buffered.split("\n\n", 1)
            event_id, data = None, None
            for line in frame.split("\n"):
                if line.startswith("id: "):
                    event_id = int(line[4:])
                elif line.startswith("data: "):
                    data = line[6:]
            if data is not None:
                yield Frame(event_id, data)


async def collected(world: ApiWorld, batch_id: str, after: int | None = None) -> list[Frame]:
    """All frames up to the end."""
    async with following(world, batch_id, after) as frames, asyncio.timeout(15):
        return [frame async for frame in frames]


async def test_a_running_item_says_since_when(world: ApiWorld) -> None:
    batch = await world.create(1)
    before = datetime.now(UTC) - timedelta(seconds=1)
    async with following(world, batch["batchId"]) as told:
        assert (await anext(told)).action == "batch-created"
        shard = await world.shard()
        await world.core.engine.claim(shard, slots=9, open_slots=9, holder="h", lease_ms=5_000, crowded=frozenset())
        started = await anext(told)
    assert (started.event_id, started.action, started.payload["status"]) == (None, "item-running", "RUNNING")
    [shown] = (await world.client.get(f"{world.batches}/{batch['batchId']}")).json()["items"]
    one = (await world.client.get(f"{world.batches}/{batch['batchId']}/{shown['itemId']}")).json()
    assert one == shown
    for running in (started.payload, shown):
        since = datetime.fromisoformat(running["startedAt"])
        assert max(before, datetime.fromisoformat(running["createdAt"])) <= since <= datetime.now(UTC)


async def test_a_stream_tells_everything_once_and_in_order(world: ApiWorld) -> None:
    batch = await world.create(3)
    async with following(world, batch["batchId"]) as frames, asyncio.timeout(15):
        first = await anext(frames)
        assert (first.event_id, first.action) == (1, "batch-created")
        assert first.payload["status"] == "PENDING"
        assert "items" not in first.payload
        await world.finish(batch["batchId"], [2])
        second = await anext(frames)
        assert (second.event_id, second.action) == (2, "item-completed")
        assert second.payload["response"]["data"]["id"] == "answer-2"
        await world.finish(batch["batchId"], [1, 3], ItemStatus.FAILED)
        rest = [frame async for frame in frames]
    assert [frame.action for frame in rest] == ["item-failed", "item-failed", "batch-failed", "[DONE]"]
    assert [frame.event_id for frame in rest] == [3, 4, 5, None]
    assert rest[2].payload["status"] == "FAILED"
    assert (rest[2].payload["completed"], rest[2].payload["failed"]) == (1, 2)


async def test_a_stream_resumes_anywhere_also_after_the_end(world: ApiWorld) -> None:
    batch = await world.create(200)
    for start in range(1, 201, 20):
        await world.finish(batch["batchId"], range(start, start + 20))
    whole = await collected(world, batch["batchId"])
    assert [frame.event_id for frame in whole] == [*range(1, 203), None]
    for after in (1, 64, 65, 201, 202, 900):
        rest = await collected(world, batch["batchId"], after)
        assert [frame.event_id for frame in rest] == [*range(after + 1, 203), None]
        assert rest[-1].data == "[DONE]"


async def test_items_that_start_are_told_live_and_without_id(world: ApiWorld) -> None:
    batch = await world.create(2)
    async with following(world, batch["batchId"]) as frames, asyncio.timeout(15):
        assert (await anext(frames)).action == "batch-created"
        claimed = await world.core.engine.claim(
            await world.shard(), slots=1, open_slots=1, holder="h", lease_ms=5_000, crowded=frozenset()
        )
        assert len(claimed.leases) == 1
        running = await anext(frames)
        assert (running.event_id, running.action) == (None, "item-running")
        assert (running.payload["status"], running.payload["response"]) == ("RUNNING", None)
        await world.finish(batch["batchId"], [1, 2])
        rest = [frame async for frame in frames]
    assert [frame.action for frame in rest] == ["item-completed", "item-completed", "batch-completed", "[DONE]"]
    assert "item-running" not in [frame.action for frame in await collected(world, batch["batchId"])]


async def test_the_creator_hears_of_a_start_before_its_end_however_fast_it_was(world: ApiWorld) -> None:
    created = await world.create(2)
    claimed = await world.core.engine.claim(
        await world.shard(), slots=1, open_slots=1, holder="h", lease_ms=5_000, crowded=frozenset()
    )
    [lease] = claimed.leases
    await world.finish(created["batchId"], [lease.ref.position])
    batch = await world.core.store.batches.get(UUID(world.environment), UUID(created["batchId"]))
    assert batch is not None
    actions: list[str] = []
    stream = EventStream(world.core.store, world.core.engine.feed, Tenants(world.core.store))
    async with asyncio.timeout(15):
        async for chunk in stream.frames(batch, 0, created=True):
            actions += re.findall(r'"action":"([^"]+)"', chunk.decode())
            if len(actions) == 3:
                await world.finish(created["batchId"], [1, 2])
    assert actions[:3] == ["batch-created", "item-running", "item-completed"]
    assert actions[3:] == ["item-completed", "batch-completed"]


async def test_sync_creation_answers_with_the_stream(world: ApiWorld) -> None:
    body = {"type": "SYNC", "items": [item(1), item(2)]}
    async with asyncio.timeout(15), world.client.stream("POST", world.batches, json=body) as answer:
        assert answer.status_code == 200
        frames = frames_of(answer)
        created = await anext(frames)
        assert created.action == "batch-created"
        await world.finish(created.payload["batchId"], [1, 2])
        rest = [frame async for frame in frames]
    assert [frame.action for frame in rest] == ["item-completed", "item-completed", "batch-completed", "[DONE]"]


async def test_a_repeated_sync_creation_tells_of_no_start_again(world: ApiWorld) -> None:
    asked: dict[str, Any] = {
        "json": {"type": "SYNC", "items": [item(1), item(2)]},
        "headers": {"Idempotency-Key": "once"},
    }
    async with asyncio.timeout(15), world.client.stream("POST", world.batches, **asked) as answer:
        frames = frames_of(answer)
        created = await anext(frames)
        claimed = await world.core.engine.claim(
            await world.shard(), slots=1, open_slots=1, holder="h", lease_ms=5_000, crowded=frozenset()
        )
        assert len(claimed.leases) == 1
        assert (await anext(frames)).action == "item-running"
        await world.finish(created.payload["batchId"], [1, 2])
        first = [created.event_id, *[frame.event_id async for frame in frames]]
    async with asyncio.timeout(15), world.client.stream("POST", world.batches, **asked) as answer:
        again = [frame async for frame in frames_of(answer)]
    assert [frame.event_id for frame in again] == first
    assert [frame.action for frame in again] == [
        "batch-created",
        "item-completed",
        "item-completed",
        "batch-completed",
        "[DONE]",
    ]


async def test_many_readers_follow_one_batch(world: ApiWorld) -> None:
    batch = await world.create(50)
    readers = [asyncio.create_task(collected(world, batch["batchId"])) for _ in range(10)]
    for seq in range(1, 51):
        await world.finish(batch["batchId"], [seq])
    for frames in await asyncio.gather(*readers):
        numbered = [frame for frame in frames if frame.action != "item-running"]
        assert [frame.event_id for frame in numbered] == [*range(1, 53), None]


async def test_no_frame_holds_a_line_end_of_any_kind(world: ApiWorld) -> None:
    request = '{"messages": [\n{"role": "user",\r\n "content": "a\u2028b\u2029c\x85d"}]}'
    body = f'{{"type": "ASYNC", "items": [{{"resourceId": "r", "request": {request}}}]}}'
    batch = (await world.client.post(world.batches, content=body.encode())).json()
    await world.finish(batch["batchId"], [1])
    frames = await collected(world, batch["batchId"])
    assert frames[1].payload["request"]["messages"][0]["content"] == "a\u2028b\u2029c\x85d"
    assert all(len(frame.data.splitlines()) == 1 for frame in frames)


async def test_a_bad_last_event_id_is_refused(world: ApiWorld) -> None:
    batch = await world.create(1)
    for bad in ("x", "-1", "1.5", "9" * 30):
        answer = await world.client.get(f"{world.batches}/{batch['batchId']}/events", headers={"Last-Event-ID": bad})
        assert (answer.status_code, answer.json()["errorCode"]) == (422, "VALIDATION_ERROR")
