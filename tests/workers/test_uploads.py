"""Uploads that run as they come, and those that stop: with a real worker."""

from __future__ import annotations

from scheduler.domain.batch import NewBatch, NewItem
from scheduler.domain.priority import Priority
from scheduler.domain.setup import Provider, Resource
from scheduler.domain.status import BatchStatus, BatchType
from scheduler.domain.work import FlowRef
from scheduler.ports.uploads import Upload
from scheduler.services.budgets.limits import flow_ref
from tests.polling import eventually
from tests.workers.world import World, new_id


def new_batch(world: World) -> NewBatch:
    """An ASYNC batch without extras."""
    return NewBatch(
        world.workspace_id,
        world.environment_id,
        new_id(),
        BatchType.ASYNC,
        None,
        (),
        None,
        Priority.NORMAL,
        None,
        None,
        None,
    )


def items_for(resource: Resource, count: int) -> list[NewItem]:
    """Chat items."""
    body = b'{"messages":[{"role":"user","content":"x"}]}'
    return [NewItem(resource.resource_id, "/v1/chat/completions", body, 1, 1, None, None) for _ in range(count)]


async def noop_resource(world: World) -> Resource:
    """A resource that needs no provider."""
    return await world.resource(await world.connection("", provider=Provider.NOOP, config={}))


async def test_what_an_api_process_stored_before_it_died_runs_and_the_batch_is_sealed(world: World) -> None:
    store, resource = world.core.store, await noop_resource(world)
    new = new_batch(world)
    upload: Upload = await store.uploads.open(new, early=True)
    async with world.worker():

        async def completed() -> int:
            batch = await store.batches.get(world.environment_id, new.batch_id)
            assert batch is not None
            return batch.completed

        async def done(count: int) -> None:
            async def are_done() -> bool:
                return await completed() == count

            await eventually(are_done, f"{count} items completed", 20.0)

        # Nobody tells the engine anything: the reconciler opens the flow, and later finds that it has grown.
        await upload.append(items_for(resource, 300))
        await done(300)
        await upload.append(items_for(resource, 200))
        await done(500)
        batch = await store.batches.get(world.environment_id, new.batch_id)
        assert batch is not None
        assert not batch.ended
        await upload.tear()
        ended = await world.ended(batch)
        assert (ended.status, ended.total_items, ended.completed) == (BatchStatus.COMPLETED, 500, 500)
        assert ended.error_message == "The upload stopped before its end."
        flows = [flow_ref(flow) for flow in await store.batches.flows(new.batch_id)]
        await eventually(lambda: _forgotten(world, flows), "the engine holds nothing of it that may be claimed")


async def _forgotten(world: World, flows: list[FlowRef]) -> bool:
    states = await world.core.engine.flows(await world.shard(), flows)
    return all(state.dead for state in states.values())


async def test_a_held_upload_that_stopped_is_swept_away(world: World) -> None:
    store, resource = world.core.store, await noop_resource(world)
    new = new_batch(world)
    upload = await store.uploads.open(new, early=False)
    await upload.append(items_for(resource, 25))
    await upload.tear()
    async with world.worker():

        async def is_swept() -> bool:
            return not await store.items.page(new.batch_id, after_seq=0, limit=9) and not await _uploads(world)

        async with store._database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM items") in (0, 25)
        await eventually(is_swept, "its items are gone")
    async with store._database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM items") == 0
    assert await store.batches.get(world.environment_id, new.batch_id) is None


async def _uploads(world: World) -> int:
    async with world.core.store._database.connection() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM uploads")
    return count


async def test_a_batch_that_is_sealed_before_anything_ran_ends(world: World) -> None:
    store, resource = world.core.store, await noop_resource(world)
    new = new_batch(world)
    upload = await store.uploads.open(new, early=True)
    await upload.append(items_for(resource, 10))
    batch, flows = await upload.finish(world.environment_id, None, b"")
    assert (batch.sealed, batch.total_items, len(flows), flows[0].last) == (True, 10, 1, 10)
    async with world.worker():
        ended = await world.ended(batch)
    assert (ended.status, ended.completed) == (BatchStatus.COMPLETED, 10)
