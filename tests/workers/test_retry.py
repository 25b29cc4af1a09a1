"""Retry through the engine: failed items are called once more, others are not."""

from __future__ import annotations

from scheduler.domain.batch import Batch
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.services.batches.control import BatchControl
from scheduler.services.batches.opening import Opening
from scheduler.services.batches.reopening import Reopening
from scheduler.services.callers.tenants import Tenants
from scheduler.services.shards.access import Shards
from tests.polling import eventually
from tests.workers.provider import FakeProvider, Reply, refuse
from tests.workers.world import World


def reopening_of(world: World) -> Reopening:
    """The service as the API builds it."""
    core = world.core
    tenants, shards = Tenants(core.store), Shards(core.recovery)
    opening = Opening(core.settings, core.store, core.engine, tenants, shards)
    return Reopening(core.store, tenants, shards, opening, core.recovery)


async def failing_batch(world: World, provider: FakeProvider, count: int = 10) -> Batch:
    """An ended batch of which the even items failed."""
    good: Reply = provider.reply
    bad = refuse(400, "bad_request", "no")
    provider.reply = lambda seen: bad(seen) if int(seen.text) % 2 == 0 else good(seen)
    resource = await world.resource(await world.connection(provider.base_url))
    batch = await world.submit(resource, [str(number) for number in range(1, count + 1)])
    ended = await world.ended(batch)
    assert (ended.status, ended.failed) == (BatchStatus.FAILED, count // 2)
    provider.reply = good
    return ended


async def test_failed_items_are_called_once_more(world: World, provider: FakeProvider) -> None:
    async with world.worker():
        failed = await failing_batch(world, provider)
        reopened = await reopening_of(world).retry(world.environment_id, failed.batch_id)
        assert not reopened.ended
        ended = await world.ended(failed)
    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.COMPLETED, 10, 0)
    assert ended.last_event == failed.last_event + 6
    assert provider.calls_per_text() == {str(n): 1 if n % 2 else 2 for n in range(1, 11)}
    assert {item.run for item in await world.items(ended)} == {1, 2}


async def test_one_item_is_called_once_more(world: World, provider: FakeProvider) -> None:
    async with world.worker():
        failed = await failing_batch(world, provider, 4)
        await world.core.store.batches.retry(world.environment_id, failed.batch_id, [4])
        # Nobody told the engine, as after a crash between the two: the reconciler does.
        ended = await world.ended(failed)
    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.FAILED, 3, 1)
    assert provider.calls_per_text() == {"1": 1, "2": 1, "3": 1, "4": 2}


async def test_a_cancelled_batch_runs_its_failed_items_again_and_ends_cancelled(
    world: World, provider: FakeProvider
) -> None:
    provider.reply = refuse(400, "bad_request", "no")
    core = world.core
    resource = await world.resource(await world.connection(provider.base_url), max_in_flight=1)
    control = BatchControl(core.settings, core.store, core.engine, Tenants(core.store), Shards(core.recovery))
    for tell_engine in (True, False):
        async with world.worker():
            batch = await world.submit(resource, [f"{tell_engine} {n}" for n in range(400)])

            async def some_failed(batch: Batch = batch) -> bool:
                return (await world.batch(batch)).failed > 3

            await eventually(some_failed, "failures")
            await control.cancel(world.environment_id, batch.batch_id)
            cancelled = await world.ended(batch)
            assert cancelled.status is BatchStatus.CANCELLED
            assert cancelled.cancelled > 0
            if tell_engine:
                await reopening_of(world).retry(world.environment_id, batch.batch_id)
            else:
                await core.store.batches.retry(world.environment_id, batch.batch_id)
            ended = await world.ended(batch)
        assert (ended.status, ended.cancelled, ended.failed) == (
            BatchStatus.CANCELLED,
            cancelled.cancelled,
            cancelled.failed,
        )
        runs = [(item.run, item.status) for item in await world.items(ended)]
        assert runs.count((2, ItemStatus.FAILED)) == cancelled.failed
        assert runs.count((1, ItemStatus.CANCELLED)) == cancelled.cancelled
