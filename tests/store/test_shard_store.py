"""Shards: epochs and generations by compare-and-set, flows to repair, one holder of a lock, signs of life."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from scheduler.domain.errors import InvariantBroken
from scheduler.domain.ids import shard_of
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.ports.shards import STOPPED, WORKER
from scheduler.store import PostgresStore
from tests.store.factories import Tenant, make_batch, make_tenant, new_batch, new_id, new_items, outcome


async def test_one_of_many_raises_an_epoch(store: PostgresStore) -> None:
    assert await store.shards.epoch(4) == (0, "")
    raised = await asyncio.gather(*(store.shards.raise_epoch(4, 0, f"redis-{n}") for n in range(6)))
    assert sorted(raised, key=str) == [1, None, None, None, None, None]
    epoch, identity = await store.shards.epoch(4)
    assert (epoch, identity) == (1, f"redis-{raised.index(1)}")
    assert await store.shards.raise_epoch(4, 0, "late") is None
    assert await store.shards.raise_epoch(4, 1, "next") == 2
    with pytest.raises(InvariantBroken):
        await store.shards.epoch(16)


async def test_one_of_many_raises_a_generation(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 1)
    raise_generation = store.shards.raise_generation
    (flow,) = await store.batches.flows(batch.batch_id)
    raised = await asyncio.gather(
        *(raise_generation(batch.batch_id, tenant.resource_id, flow.generation) for _ in range(5))
    )
    assert sorted(raised, key=str) == [flow.generation + 1, None, None, None, None]
    assert await raise_generation(new_id(), tenant.resource_id, 1) is None


async def test_live_shards_are_those_with_environments(store: PostgresStore) -> None:
    assert await store.shards.live_shards() == []
    tenants = [await make_tenant(store, f"t{n}") for n in range(3)]
    assert await store.shards.live_shards() == sorted({shard_of(one.environment_id, 16) for one in tenants})
    assert await store.shards.shards() == 16


async def test_unfinished_flows_come_in_pages_without_the_finished_ones(store: PostgresStore, tenant: Tenant) -> None:
    shard = shard_of(tenant.environment_id, 16)
    both = [*new_items(tenant, 1), *new_items(tenant, 1, resource_id=tenant.other_resource_id)]
    live = [(await store.batches.create(new_batch(tenant), both))[0] for _ in range(3)]
    done, cancelled = await make_batch(store, tenant, 1), await make_batch(store, tenant, 1)
    await store.outcomes.flush([outcome(done, 1)])
    await store.batches.cancel(tenant.environment_id, cancelled.batch_id)
    expected = sorted(
        (batch.batch_id, resource_id)
        for batch in live
        for resource_id in (tenant.resource_id, tenant.other_resource_id)
    )
    seen: list[tuple[UUID, UUID]] = []
    while page := await store.shards.unfinished_flows(shard, after=seen[-1] if seen else None, limit=4):
        seen += [(flow.batch_id, flow.resource_id) for flow in page]
    assert seen == expected
    assert await store.shards.unfinished_flows((shard + 1) % 16, after=None, limit=4) == []


async def test_cancelled_batches_are_listed_until_they_end(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 1)
    assert await store.shards.cancelled_unfinished(5) == []
    await store.batches.cancel(tenant.environment_id, batch.batch_id)
    (listed,) = await store.shards.cancelled_unfinished(5)
    assert (listed.batch_id, listed.status) == (batch.batch_id, BatchStatus.CANCELLED)
    await store.outcomes.flush([outcome(batch, 1, ItemStatus.CANCELLED, valid_until=None)])
    assert await store.shards.cancelled_unfinished(5) == []


async def test_cancelled_batches_are_listed_in_pages(store: PostgresStore, tenant: Tenant) -> None:
    made = [await make_batch(store, tenant, 1) for _ in range(5)]
    for batch in made:
        await store.batches.cancel(tenant.environment_id, batch.batch_id)
    pages = [await store.shards.cancelled_unfinished(2)]
    while pages[-1]:
        pages.append(await store.shards.cancelled_unfinished(2, pages[-1][-1]))
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [each.batch_id for page in pages for each in page] == [batch.batch_id for batch in made]


async def test_a_lock_has_one_holder_at_a_time(store: PostgresStore) -> None:
    exclusive = store.shards.exclusive
    async with exclusive("reconciler") as first, exclusive("reconciler") as second, exclusive("other") as other:
        assert (first, second, other) == (True, False, True)
    async with store.shards.exclusive("reconciler") as third:
        assert third


async def test_a_lock_is_free_after_an_error_and_the_error_is_not_ours(store: PostgresStore) -> None:
    with pytest.raises(ConnectionResetError, match="redis"):
        async with store.shards.exclusive("reconciler"):
            raise ConnectionResetError("redis went away")
    async with asyncio.timeout(20):
        while True:
            async with store.shards.exclusive("reconciler") as free:
                if free:
                    break


async def test_a_broken_session_frees_its_lock_at_once(store: PostgresStore, postgres: asyncpg.Connection) -> None:
    async with store.shards.exclusive("reconciler") as first:
        assert first
        await postgres.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        async with store.shards.exclusive("reconciler") as second:
            assert second


async def test_a_beat_tells_of_the_other_workers_that_live(store: PostgresStore, postgres: asyncpg.Connection) -> None:
    assert await store.shards.beat("host-1", "worker", {}) == {}
    assert await store.shards.beat("host-1", "worker", {}) == {}
    await store.shards.beat("host-2", "worker", {})
    await store.shards.beat("host-3", "api", {})
    await postgres.execute("UPDATE processes SET beat_at = now() - interval '7 seconds' WHERE holder = 'host-2'")
    told = await store.shards.beat("host-1", "worker", {})
    assert list(told) == ["host-2"]
    assert 7 <= told["host-2"] < 12
    await postgres.execute("UPDATE processes SET beat_at = now() - interval '16 seconds' WHERE holder = 'host-2'")
    assert await store.shards.beat("host-1", "worker", {}) == {}


async def test_a_worker_that_stopped_did_not_die_a_moment_ago(store: PostgresStore) -> None:
    await store.shards.beat("host-2", WORKER, {})
    await store.shards.beat("host-2", STOPPED, {"metrics": {}})
    assert list(await store.shards.beat("host-1", WORKER, {})) == ["host-2"]
    kinds = {one["holder"]: one["kind"] for one in await store.shards.alive(30)}
    assert kinds == {"host-1": WORKER, "host-2": STOPPED}


async def test_processes_are_alive_while_they_beat(store: PostgresStore, postgres: asyncpg.Connection) -> None:
    await store.shards.beat("host-1", "worker", {"slots": 3})
    await store.shards.beat("host-2", "api", {})
    await store.shards.beat("host-1", "worker", {"slots": 4})
    alive = await store.shards.alive(30)
    assert [(one["holder"], one["kind"], one["info"]) for one in alive] == [
        ("host-2", "api", {}),
        ("host-1", "worker", {"slots": 4}),
    ]
    await postgres.execute("UPDATE processes SET beat_at = now() - interval '2 days' WHERE holder = 'host-1'")
    assert [one["holder"] for one in await store.shards.alive(30)] == ["host-2"]
    await store.shards.maintain()
    assert await postgres.fetchval("SELECT count(*) FROM processes") == 1
