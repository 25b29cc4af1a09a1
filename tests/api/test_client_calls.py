"""The client's calls that lean on the store: uploads, retry, callbacks, changes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from brim import AsyncClient, Capacity, Client, Invalid
from scheduler.domain.status import ItemStatus
from tests.api.world import ApiWorld, item


async def test_the_client_uploads_retries_and_replays(world: ApiWorld) -> None:
    tenant = (world.url, world.key, world.workspace, world.environment)
    options = {"url": "http://127.0.0.1:9/hook", "events": ["batch_update"]}
    async with AsyncClient(*tenant) as client:
        batch = await client.create_from_lines(
            (item(number) for number in range(1, 3_001)), type="CALLBACK", callback_options=options
        )
        assert (batch.total_items, batch.type) == (3_000, "CALLBACK")
        await world.finish(batch.batch_id, range(1, 3_000))
        await world.finish(batch.batch_id, [3_000], ItemStatus.FAILED)
        (delivery,) = [each async for each in client.deliveries(batch.batch_id)]
        assert (delivery.event, delivery.state, delivery.attempts) == ("BATCH_UPDATE", "WAITING", 0)
        assert delivery.next_try_at is not None
        assert (await client.replay(batch.batch_id, delivery.delivery_id)).state == "WAITING"
        again = await client.retry(batch.batch_id)
        assert (again.status, again.pending, again.failed) == ("RUNNING", 1, 0)


async def test_the_synchronous_client_does_the_same(world: ApiWorld) -> None:
    def calls() -> tuple[str, str]:
        with Client(world.url, world.key, world.workspace, world.environment) as client:
            bad = {"resourceId": "nobody", "request": {}}
            batch = client.create_from_lines([item(1), bad, item(2)], early_start=True, idempotency_key="k")
            assert (batch.total_items, batch.failed) == (3, 1)
            assert list(client.deliveries(batch.batch_id)) == []
            return batch.batch_id, next(client.items(batch.batch_id)).item_id

    batch_id, item_id = await asyncio.to_thread(calls)
    await world.finish(batch_id, [1], ItemStatus.FAILED)
    await world.finish(batch_id, [3])

    def retry() -> str:
        with Client(world.url, world.key, world.workspace, world.environment) as client:
            return client.retry(batch_id, [item_id]).status

    assert await asyncio.to_thread(retry) == "RUNNING"


async def test_what_the_client_changes_of_a_live_batch_is_changed_and_the_rest_stays(world: ApiWorld) -> None:
    async with AsyncClient(world.url, world.key, world.workspace, world.environment) as client:
        batch_id = (await client.create([item(1)], priority="low")).batch_id
        until = datetime(2999, 1, 1, tzinfo=UTC)
        changed = await client.change(batch_id, capacity=[Capacity("MINUTE", requests=3)], deadline=until)
        assert (changed.priority, changed.capacity[0]["requests"], changed.deadline) == ("low", 3, until)
        freed = await client.change(batch_id, priority="high", capacity=None, deadline=None)
        assert (freed.priority, freed.capacity, freed.deadline) == ("high", (), None)
        with pytest.raises(Invalid, match="deadline: must lie in the future"):
            await client.change(batch_id, deadline=datetime(2001, 1, 1, tzinfo=UTC))
