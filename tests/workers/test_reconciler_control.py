"""A batch that was changed, by a process that died before it had told the engine all of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from scheduler.domain.batch import Batch, BatchChange
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.priority import Priority
from scheduler.domain.work import FlowState
from scheduler.services.budgets.limits import batch_budgets, flow_definition, flow_ref
from tests.workers.world import NOW, World
from workers.reconciler import Reconciler

CHANGE = BatchChange(priority=Priority.CRITICAL, capacity=(Capacity(Period.LIFETIME, 2, None),))


def reconciler_of(world: World, shard: int) -> Reconciler:
    core = world.core
    return Reconciler(core.store, core.engine, core.recovery, lambda: [shard], lambda: NOW)


async def claimed(world: World) -> int:
    """How many entries a claim gets now."""
    found = await world.core.engine.claim(
        await world.shard(), slots=64, open_slots=64, holder="w", lease_ms=60_000, crowded=frozenset()
    )
    return len(found.leases)


async def states_of(world: World, batch: Batch) -> list[FlowState]:
    """What the engine holds of a batch's flows."""
    flows = [flow_ref(flow) for flow in await world.core.store.batches.flows(batch.batch_id)]
    known = await world.core.engine.flows(await world.shard(), flows)
    return [known[flow] for flow in flows]


async def changed(world: World, batch: Batch) -> Batch:
    """The batch as Postgres has it after the change, which nobody told the engine."""
    after = await world.core.store.batches.change(batch.environment_id, batch.batch_id, CHANGE)
    assert after is not None
    return after


@pytest.mark.parametrize("told", range(3))
async def test_a_change_that_was_told_in_part_is_told_whole(world: World, told: int) -> None:
    resources = [await world.resource(await world.connection("http://127.0.0.1:9")) for _ in range(2)]
    batch = await world.submit(resources[0], ["one", "two", "three", "four"], others=resources[1:])
    engine, shard = world.core.engine, await world.shard()
    reconciler = reconciler_of(world, shard)
    await reconciler.run_once()
    after = await changed(world, batch)
    flows = await world.core.store.batches.flows(batch.batch_id)
    steps: list[Callable[[], Awaitable[None]]] = [
        lambda: engine.set_limits(shard, batch_budgets(after, None)),
        lambda: engine.set_flow(shard, flow_definition(after, flows[0])),
    ]
    for step in steps[:told]:
        await step()
    assert (await reconciler.run_once()).told == (1 if told == 2 else 2)
    assert [state.version for state in await states_of(world, batch)] == [after.version] * 2
    for flow in flows:
        standing = await engine.explain(shard, flow_ref(flow))
        assert standing is not None
        assert standing.own.weight == after.weight
    assert await claimed(world) == 2, "as its new limit says, of both flows together"
    assert (await reconciler.run_once()).told == 0


async def test_a_limit_that_a_refill_was_faster_than_is_told(world: World) -> None:
    """A refill gives its flow the batch's newest version, but not what the limits that bind it are."""
    resource = await world.resource(await world.connection("http://127.0.0.1:9"))
    batch = await world.submit(resource, ["one", "two", "three"], capacity=(Capacity(Period.LIFETIME, 1, None),))
    engine, shard = world.core.engine, await world.shard()
    reconciler = reconciler_of(world, shard)
    await reconciler.run_once()
    after = await changed(world, batch)
    [flow] = await world.core.store.batches.flows(batch.batch_id)
    assert await engine.push(shard, flow_definition(after, flow), flow.generation, flow.last, flow.last, [])
    assert await claimed(world) == 1, "the old limit holds"
    assert (await reconciler.run_once()).told == 0
    assert await claimed(world) == 1, "the second of two"


async def test_a_pause_and_its_end_arrive_however_late(world: World) -> None:
    resource = await world.resource(await world.connection("http://127.0.0.1:9"))
    batch = await world.submit(resource, ["one", "two", "three"])
    reconciler = reconciler_of(world, await world.shard())
    for paused in (True, False):
        await world.core.store.batches.set_paused(world.environment_id, batch.batch_id, paused)
        assert (await reconciler.run_once()).told == 1
        assert [state.paused for state in await states_of(world, batch)] == [paused]
        assert await claimed(world) == (0 if paused else 3)
