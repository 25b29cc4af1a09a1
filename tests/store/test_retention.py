"""What ended long ago is forgotten week by week; what has not ended, never."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from scheduler.domain.batch import Batch
from scheduler.domain.ids import uuid7
from scheduler.ports.retention import Forgotten
from scheduler.store import PostgresStore
from scheduler.store.retention_store import TABLES
from tests.store.factories import Tenant, make_batch, outcomes
from workers.pruner import Pruned, Pruner

OLD = datetime(2025, 3, 3, 12, tzinfo=UTC)
"""A Monday."""
LATER = OLD + timedelta(days=30)


async def batch_of(
    store: PostgresStore, tenant: Tenant, at: datetime, count: int = 3, *, done: int | None = None
) -> Batch:
    """A batch as if it had been created then; `done` of its items are finished (None: all)."""
    batch_id = uuid7(int(at.timestamp() * 1000), os.urandom(10))
    batch = await make_batch(store, tenant, count, batch_id=batch_id)
    await store.outcomes.flush(outcomes(batch, range(1, (count if done is None else done) + 1)))
    return batch


async def weeks(postgres: asyncpg.Connection, *starts: datetime) -> None:
    """Partitions of past weeks."""
    for table in TABLES:
        for start in starts:
            await postgres.execute("SELECT add_partition($1, date_trunc('week', $2::timestamptz, 'UTC'))", table, start)


async def rows(postgres: asyncpg.Connection, batch_id: UUID) -> int:
    """Rows of a batch in all partitioned tables."""
    counts = [
        await postgres.fetchval(f"SELECT count(*) FROM {table} WHERE batch_id = $1", batch_id) for table in TABLES
    ]
    return sum(counts)


async def partitions(postgres: asyncpg.Connection, start: datetime) -> int:
    """How many tables have a partition of that week."""
    names = [f"{table}_{start - timedelta(days=start.weekday()):%Y%m%d}" for table in TABLES]
    found: int = await postgres.fetchval("SELECT count(*) FROM pg_class WHERE relname = ANY ($1)", names)
    return found


async def test_a_week_in_which_everything_ended_is_dropped(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await weeks(postgres, OLD)
    batch = await batch_of(store, tenant, OLD)
    assert await rows(postgres, batch.batch_id) == 3 + 3 + 2
    assert await store.retention.forget(LATER) == Forgotten(batches=1, dropped=5)
    assert await store.batches.get(tenant.environment_id, batch.batch_id) is None
    assert await rows(postgres, batch.batch_id) == 0
    assert await partitions(postgres, OLD) == 0
    assert await store.retention.forget(LATER) == Forgotten()


async def test_a_batch_that_has_not_ended_keeps_its_week_however_old_it_is(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await weeks(postgres, OLD)
    ended = await batch_of(store, tenant, OLD)
    open_one = await batch_of(store, tenant, OLD + timedelta(hours=1), 4, done=2)
    assert await store.retention.forget(LATER) == Forgotten(batches=1, held=5)
    assert await store.batches.get(tenant.environment_id, ended.batch_id) is None
    kept = await store.batches.get(tenant.environment_id, open_one.batch_id)
    assert kept is not None
    assert (kept.completed, kept.total_items) == (2, 4)
    assert [item.seq for item in await store.items.page(open_one.batch_id, after_seq=0, limit=9)] == [1, 2, 3, 4]
    assert [event.event_no for event in await store.outcomes.events(open_one.batch_id, after=0, limit=9)] == [1, 2, 3]
    await store.outcomes.flush(outcomes(kept, [3, 4]))
    assert await store.retention.forget(LATER) == Forgotten(batches=1, dropped=5)
    assert await rows(postgres, ended.batch_id) == 0


async def test_a_week_that_is_not_over_by_then_stays_but_its_older_batches_go(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await weeks(postgres, OLD)
    early = await batch_of(store, tenant, OLD)
    late = await batch_of(store, tenant, OLD + timedelta(days=3))
    assert await store.retention.forget(OLD + timedelta(days=2)) == Forgotten(batches=1)
    assert await store.batches.get(tenant.environment_id, early.batch_id) is None
    assert await store.batches.get(tenant.environment_id, late.batch_id) is not None
    assert await partitions(postgres, OLD) == 5


async def test_only_weeks_before_the_time_are_dropped(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    following = OLD + timedelta(days=7)
    await weeks(postgres, OLD, following)
    await batch_of(store, tenant, OLD)
    young = await batch_of(store, tenant, following)
    assert await store.retention.forget(following - timedelta(hours=1)) == Forgotten(batches=1, dropped=5)
    assert await partitions(postgres, following) == 5
    assert await rows(postgres, young.batch_id) == 3 + 3 + 2


async def test_an_upload_that_is_still_held_keeps_its_week(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await weeks(postgres, OLD)
    batch_id = uuid7(int(OLD.timestamp() * 1000), os.urandom(10))
    await postgres.execute("INSERT INTO uploads (batch_id, early, seen_at) VALUES ($1, false, now())", batch_id)
    assert await store.retention.forget(LATER) == Forgotten(held=5)
    await postgres.execute("DELETE FROM uploads")
    assert await store.retention.forget(LATER) == Forgotten(dropped=5)


async def test_a_batch_with_a_callback_to_send_is_kept(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await weeks(postgres, OLD)
    batch = await batch_of(store, tenant, OLD)
    await postgres.execute(
        "INSERT INTO deliveries (batch_id, delivery_id, created_at, due_at, kind, receiver)"
        " VALUES ($1, new_uuid7(), now(), now(), 'batch', 'example.org:443')",
        batch.batch_id,
    )
    assert await store.retention.forget(LATER) == Forgotten(held=5)
    await postgres.execute("UPDATE deliveries SET state = 'dead', due_at = NULL, finished_at = now()")
    assert await store.retention.forget(LATER) == Forgotten(batches=1, dropped=5)


async def test_rows_of_a_week_without_partitions_are_swept_from_the_net(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    gone = await batch_of(store, tenant, OLD)
    kept = await batch_of(store, tenant, OLD + timedelta(hours=1), done=1)
    assert await store.retention.forget(LATER) == Forgotten(batches=1)
    assert await rows(postgres, gone.batch_id) == 0
    assert await rows(postgres, kept.batch_id) == 3 + 1 + 1


async def test_a_reader_in_the_way_puts_off_the_drop_of_that_table_only(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await weeks(postgres, OLD)
    await batch_of(store, tenant, OLD)
    async with postgres.transaction():
        await postgres.fetch("SELECT * FROM outcomes")
        assert await store.retention.forget(LATER) == Forgotten(batches=1, dropped=4, held=1)
    assert await store.retention.forget(LATER) == Forgotten(dropped=1)


async def test_a_retry_that_comes_meanwhile_is_not_forgotten(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await weeks(postgres, OLD)
    batch = await batch_of(store, tenant, OLD)
    async with postgres.transaction():
        # As retry does: the batch's row is locked, and open again when the lock is gone.
        await postgres.execute("SELECT FROM batches WHERE batch_id = $1 FOR NO KEY UPDATE", batch.batch_id)
        assert await store.retention.forget(LATER) == Forgotten(held=5)
        await postgres.execute(
            "UPDATE batches SET completed_at = NULL, status = 'RUNNING', completed = 2 WHERE batch_id = $1",
            batch.batch_id,
        )
    assert await store.retention.forget(LATER) == Forgotten(held=5)
    assert await rows(postgres, batch.batch_id) == 3 + 3 + 2


@pytest.mark.parametrize(("days", "forgotten"), [(None, Forgotten()), (400.0, Forgotten()), (30.0, Forgotten(1, 5))])
async def test_the_pruner_forgets_by_age_when_told_to(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection, days: float | None, forgotten: Forgotten
) -> None:
    await weeks(postgres, OLD)
    batch = await batch_of(store, tenant, OLD)
    pruner = Pruner(store.shards, store.retention, days, lambda: OLD + timedelta(days=60))
    assert await pruner.run_once() == Pruned(True, forgotten)
    kept = await store.batches.get(tenant.environment_id, batch.batch_id)
    assert (kept is None) == (forgotten.batches > 0)


async def test_two_pruners_at_once_do_it_once(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await weeks(postgres, OLD)
    for hour in range(5):
        await batch_of(store, tenant, OLD + timedelta(hours=hour))
    both = await asyncio.gather(store.retention.forget(LATER), store.retention.forget(LATER))
    assert sum(each.batches for each in both) == 5
    assert sum(each.dropped for each in both) == 5
