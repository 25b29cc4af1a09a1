"""The asynchronous client: the same promises where its I/O differs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from brim import AsyncClient, NotFound, StreamError, WaitTimedOut

from .fake_brim import FakeBrim
from .test_client import expected, items, numbered


async def test_every_event_is_seen_once_over_twenty_cuts(brim: FakeBrim, async_client: AsyncClient) -> None:
    batch_id = brim.add_batch(100)
    brim.faults.cut_streams = 20
    assert numbered([event async for event in async_client.stream(batch_id)]) == expected(brim, batch_id)
    assert len(brim.paths("GET")) == 21


async def test_run_follows_its_batch_over_cuts(brim: FakeBrim, async_client: AsyncClient) -> None:
    brim.faults.cut_streams, brim.faults.cut_creates = 10, 1
    events = [event async for event in async_client.run(items(40))]
    (batch_id,) = brim.batches
    assert numbered(events) == expected(brim, batch_id)


async def test_leaving_a_stream_early_closes_it(brim: FakeBrim, async_client: AsyncClient) -> None:
    brim.never_ends = True
    async with aclosing(async_client.stream(brim.add_batch(5))) as events:
        async for event in events:
            if event.id == 2:
                break
    assert event.action == "item-completed"


async def test_many_calls_share_one_client(async_client: AsyncClient) -> None:
    batches = await asyncio.gather(*(async_client.create(items(n + 1)) for n in range(5)))
    assert sorted(batch.total_items for batch in batches) == [1, 2, 3, 4, 5]


async def test_calls_read_and_change_a_batch(brim: FakeBrim, async_client: AsyncClient) -> None:
    batch = await async_client.create(items(3))
    found = [item async for item in async_client.items(batch.batch_id, page_size=2)]
    assert await async_client.get_item(batch.batch_id, found[2].item_id) == found[2]
    assert (await async_client.get(batch.batch_id, include_items=True)).items == tuple(found)
    assert [each.batch_id async for each in async_client.list()] == [batch.batch_id]
    assert (await async_client.pause(batch.batch_id)).paused
    assert not (await async_client.resume(batch.batch_id)).paused
    brim.batches[batch.batch_id]["status"] = "RUNNING"
    assert (await async_client.change(batch.batch_id, priority="critical")).priority == "critical"
    assert (await async_client.cancel(batch.batch_id)).status == "CANCELLED"
    brim.headroom["sim"] = {"inFlight": 0}
    assert (await async_client.headroom("sim")).raw == {"inFlight": 0}


async def test_wait_asks_until_the_end_or_its_limit(brim: FakeBrim, async_client: AsyncClient) -> None:
    batch_id = brim.add_batch(2)
    brim.final_after_reads = 2
    assert (await async_client.wait(batch_id)).is_final
    brim.final_after_reads = 1_000
    with pytest.raises(WaitTimedOut):
        await async_client.wait(batch_id, timeout=0)


@pytest.mark.parametrize("streamed", [True, False])
async def test_results_come_streamed_or_by_pages(brim: FakeBrim, async_client: AsyncClient, streamed: bool) -> None:
    brim.has_results, brim.faults.cut_results = streamed, 1
    batch_id = brim.add_batch(9)
    found = [item.custom_id async for item in async_client.results(batch_id)]
    assert found == [f"c{n}" for n in range(9)]


async def test_errors_are_the_same(brim: FakeBrim, async_client: AsyncClient) -> None:
    brim.faults.pipeline_error = "the feed broke"
    with pytest.raises(StreamError, match="the feed broke"):
        _ = [event async for event in async_client.stream(brim.add_batch(1))]
    with pytest.raises(NotFound):
        await async_client.get("nothing")
