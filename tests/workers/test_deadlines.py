"""Batches with a deadline: they weigh more as it nears, and what waits beyond it fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler.domain.batch import Batch, BatchChange
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.domain.work import FlowDefinition
from scheduler.services.budgets.limits import flow_definition, flow_ref
from tests.polling import eventually
from tests.workers.provider import FakeProvider
from tests.workers.world import World
from workers.expirer import BATCHES, Expirer
from workers.urger import Urger


async def pressed_batch(world: World, count: int, deadline: datetime, **more: Any) -> Batch:
    """A batch that waits on its connection, with a deadline."""
    resource = await world.resource(await world.connection("http://127.0.0.1:9/v1"), **more)
    batch = await world.submit(resource, [str(i) for i in range(count)])
    changed = await world.core.store.batches.change(
        world.environment_id, batch.batch_id, BatchChange(deadline=deadline)
    )
    assert changed is not None
    return changed


async def test_what_waits_beyond_its_deadline_fails_and_the_batch_ends(world: World) -> None:
    batch = await pressed_batch(world, 1_200, datetime.now(UTC) + timedelta(hours=1))
    at = [datetime.now(UTC)]
    told: list[int] = []
    core = world.core
    expirer = Expirer(core.store, core.engine, core.recovery, lambda: at[0], lambda: told.append(1))
    assert (await expirer.run_once()).batches == 0
    at[0] += timedelta(hours=2)
    found = await expirer.run_once()
    assert (found.batches, found.items) == (1, 1_200)
    ended = await world.batch(batch)
    assert (ended.status, ended.failed, ended.ended) == (BatchStatus.FAILED, 1_200, True)
    item = (await world.items(batch))[700]
    assert (item.status, item.error_code) == (ItemStatus.FAILED, "DEADLINE_EXCEEDED")
    assert (await expirer.run_once()).batches == 0


async def test_batches_whose_items_run_for_long_do_not_keep_overdue_ones_waiting(world: World) -> None:
    core, at = world.core, [datetime.now(UTC)]
    soon = at[0] + timedelta(hours=1)
    resource = await world.resource(await world.connection("http://127.0.0.1:9/v1"))
    batches = [await world.submit(resource, ["runs", "waits"]) for _ in range(BATCHES + 1)]
    claimed: set[str] = set()
    shard = await world.shard()
    while len(claimed) < len(batches):
        got = await core.engine.claim(shard, slots=1, open_slots=1, holder="h", lease_ms=60_000, crowded=frozenset())
        claimed |= {lease.ref.flow.batch_id for lease in got.leases}
    for batch in batches:
        await core.store.batches.change(world.environment_id, batch.batch_id, BatchChange(deadline=soon))
    expirer = Expirer(core.store, core.engine, core.recovery, lambda: at[0], lambda: None)
    at[0] += timedelta(hours=2)
    assert (await expirer.run_once()).items == BATCHES
    assert (await expirer.run_once()).items == 1
    assert (await expirer.run_once()).batches == BATCHES, "round and round"


async def test_what_runs_at_the_deadline_ends_by_itself(world: World, provider: FakeProvider) -> None:
    resource = await world.resource(await world.connection(provider.base_url, max_in_flight=3))
    provider.hold = asyncio.Event()
    async with world.worker():
        batch = await world.submit(resource, [str(i) for i in range(50)])
        await eventually(lambda: len(provider.seen) == 3, "three calls under way")
        change = BatchChange(deadline=datetime.now(UTC) + timedelta(milliseconds=200))
        await world.core.store.batches.change(world.environment_id, batch.batch_id, change)

        async def rest_has_failed() -> bool:
            return (await world.batch(batch)).failed == 47

        await eventually(rest_has_failed, "all that waits to fail")
        assert not (await world.batch(batch)).ended
        provider.hold.set()
        ended = await world.ended(batch)
    assert (ended.completed, ended.failed) == (3, 47)
    assert len(provider.seen) == 3


async def test_a_deadline_that_is_put_off_brings_back_what_waits(world: World, provider: FakeProvider) -> None:
    """The sweep made the flow dead under the old version; the newer one revives it."""
    resource = await world.resource(
        await world.connection(provider.base_url), capacity=(Capacity(Period.MINUTE, requests=1),)
    )
    batch = await world.submit(resource, ["one", "two"])
    [flow] = await world.core.store.batches.flows(batch.batch_id)
    await world.core.engine.cancel(flow.shard, flow_ref(flow), batch.version)
    change = BatchChange(deadline=datetime.now(UTC) + timedelta(hours=1))
    await world.core.store.batches.change(world.environment_id, batch.batch_id, change)
    async with world.worker():
        await eventually(lambda: len(provider.seen) >= 1, "the flow to live again")


async def test_a_batch_that_will_be_late_weighs_more_and_a_change_goes_first(world: World) -> None:
    batch = await pressed_batch(world, 10, datetime.now(UTC) + timedelta(hours=1))
    core = world.core
    shard = await world.shard()
    flows = await core.store.batches.flows(batch.batch_id)
    at = [batch.created_at + timedelta(minutes=1)]
    urger = Urger(core.store, core.engine, core.recovery, lambda: [shard], lambda: at[0])
    assert (await urger.run_once()).flows == 0  # there is time
    # Nothing has finished ten minutes before the end.
    at[0] = batch.created_at + timedelta(minutes=50)
    stale = await core.engine.urge(shard, [(flow_ref(flows[0]), batch.version + 1, 9.0)])
    assert stale == 0
    assert (await urger.run_once()).flows == 0  # the engine holds version 1: the change has not arrived yet
    definition = replace(await definition_of(world, batch), version=batch.version)
    await core.engine.set_flow(shard, definition)
    at[0] += timedelta(minutes=2)
    assert (await urger.run_once()).flows == 1
    standing = await core.engine.explain(shard, flow_ref(flows[0]))
    assert standing is not None
    assert standing.own.weight > 4 * batch.weight
    assert (await urger.run_once()).flows == 0  # nothing new
    # A person's change counts until the next turn.
    await core.engine.set_flow(shard, replace(definition, version=batch.version + 1))
    standing = await core.engine.explain(shard, flow_ref(flows[0]))
    assert standing is not None
    assert standing.own.weight == batch.weight


async def definition_of(world: World, batch: Batch) -> FlowDefinition:
    """The engine's definition of the batch's flow."""
    [flow] = await world.core.store.batches.flows(batch.batch_id)
    return flow_definition(batch, flow)
