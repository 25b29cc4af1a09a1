"""Writers of numbered events against each other: whatever the interleaving, no gap, no double, one end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from scheduler.domain.batch import Batch, BatchEvent, ItemEvent
from scheduler.domain.outcome import ItemOutcome, Recorded
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.store import PostgresStore
from tests.store.factories import BOTH, Tenant, make_batch, outcome, outcomes
from tests.store.waiting import wait_for_waiters


async def flush_all(store: PostgresStore, rows: list[ItemOutcome]) -> list[Recorded]:
    """Flush as the committer does: what is deferred goes into the next flush, which waits after three."""
    verdicts: list[Recorded] = []
    for attempt in range(100):
        flushed = await store.outcomes.flush(rows, wait_for_locks=attempt >= 3)
        verdicts += [verdict for verdict in flushed.recorded if verdict is not Recorded.DEFERRED]
        rows = [row for row, verdict in zip(rows, flushed.recorded, strict=True) if verdict is Recorded.DEFERRED]
        if not rows:
            return verdicts
    raise AssertionError("still deferred after 100 flushes")


async def check_history(store: PostgresStore, batch: Batch, items: int) -> BatchStatus:
    """Each item once, numbers without a gap, one end, which is last and tells the truth. Answers its status."""
    events = await store.outcomes.events(batch.batch_id, after=0, limit=10_000)
    assert [event.event_no for event in events] == list(range(1, items + 3))
    finished = [event.item for event in events if isinstance(event, ItemEvent)]
    assert sorted(item.seq for item in finished) == list(range(1, items + 1))
    ends = [event for event in events if isinstance(event, BatchEvent)][1:]
    assert ends == [events[-1]]
    (end,) = ends
    counts = [sum(item.status is status for item in finished) for status in (ItemStatus.COMPLETED, ItemStatus.FAILED)]
    assert [end.batch.completed, end.batch.failed] == counts
    assert end.batch.finished == items
    assert end.batch.last_event == items + 2
    assert end.batch == await store.batches.get(batch.environment_id, batch.batch_id)
    return end.batch.status


@asynccontextmanager
async def held(connection: asyncpg.Connection, batch_id: UUID) -> AsyncIterator[None]:
    """Hold the lock of a batch row for the block, so that writers queue up behind it."""
    async with connection.transaction():
        await connection.execute("SELECT FROM batches WHERE batch_id = $1 FOR UPDATE", batch_id)
        yield


@pytest.mark.parametrize("seed", range(4))
async def test_many_committers_of_the_same_batches_leave_one_gapless_history(
    store: PostgresStore, tenant: Tenant, seed: int
) -> None:
    dice = random.Random(seed)
    batches = [await make_batch(store, tenant, 40) for _ in range(3)]
    # Every outcome is held by two committers, as after a lease that changed hands.
    rows = [outcome(batch, seq) for batch in batches for seq in range(1, 41)] * 2
    dice.shuffle(rows)
    chunks = [rows[start : start + 16] for start in range(0, len(rows), 16)]
    done = await asyncio.gather(*(flush_all(store, chunk) for chunk in chunks))
    verdicts = [verdict for one in done for verdict in one]
    assert sorted(verdicts) == [Recorded.DUPLICATE] * 120 + [Recorded.RECORDED] * 120
    for batch in batches:
        assert await check_history(store, batch, 40) is BatchStatus.COMPLETED


async def test_two_flushes_queued_behind_one_lock_number_on_from_each_other(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 6)
    async with held(postgres, batch.batch_id):
        tasks = [
            asyncio.create_task(store.outcomes.flush(outcomes(batch, seqs), wait_for_locks=True))
            for seqs in ([1, 2, 3, 4], [3, 4, 5, 6])
        ]
        await wait_for_waiters(postgres, 2)
    first, second = await asyncio.gather(*tasks)
    assert sorted(first.recorded + second.recorded) == [Recorded.DUPLICATE] * 2 + [Recorded.RECORDED] * 6
    await check_history(store, batch, 6)


async def test_flushes_over_the_same_batches_in_opposite_order_do_not_deadlock(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    a, b = await make_batch(store, tenant, 2), await make_batch(store, tenant, 2)
    async with held(postgres, a.batch_id):
        tasks = [
            asyncio.create_task(store.outcomes.flush(rows, wait_for_locks=True))
            for rows in ([outcome(a, 1), outcome(b, 1)], [outcome(b, 2), outcome(a, 2)])
        ]
        tasks.append(asyncio.create_task(store.batches.mark_running([b.batch_id, a.batch_id])))  # type: ignore[arg-type]
        await wait_for_waiters(postgres, 3)
    await asyncio.gather(*tasks)
    await check_history(store, a, 2)
    await check_history(store, b, 2)


async def test_a_cancel_that_waits_for_the_last_flush_finds_a_final_batch(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 2)
    async with held(postgres, batch.batch_id):
        flush = asyncio.create_task(store.outcomes.flush(outcomes(batch, [1, 2]), wait_for_locks=True))
        await wait_for_waiters(postgres, 1)
        cancel = asyncio.create_task(store.batches.cancel(tenant.environment_id, batch.batch_id))
        await wait_for_waiters(postgres, 2)
    await flush
    cancelled = await cancel
    assert cancelled is not None
    assert cancelled.status is BatchStatus.COMPLETED
    assert await check_history(store, batch, 2) is BatchStatus.COMPLETED


async def test_a_flush_that_waits_for_a_cancel_ends_the_batch_cancelled(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 2)
    async with held(postgres, batch.batch_id):
        cancel = asyncio.create_task(store.batches.cancel(tenant.environment_id, batch.batch_id))
        await wait_for_waiters(postgres, 1)
        flush = asyncio.create_task(store.outcomes.flush(outcomes(batch, [1, 2]), wait_for_locks=True))
        await wait_for_waiters(postgres, 2)
    await cancel
    assert (await flush).recorded == (Recorded.RECORDED, Recorded.RECORDED)
    assert await check_history(store, batch, 2) is BatchStatus.CANCELLED


async def test_the_canceller_and_a_late_worker_record_an_item_once(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 5)
    await store.batches.cancel(tenant.environment_id, batch.batch_id)
    cancellations = outcomes(batch, range(1, 6), status=ItemStatus.CANCELLED, valid_until=None, response=None)
    async with held(postgres, batch.batch_id):
        tasks = [
            asyncio.create_task(store.outcomes.flush(rows, wait_for_locks=True))
            for rows in (cancellations, [outcome(batch, 3)], cancellations)
        ]
        await wait_for_waiters(postgres, 3)
    results = await asyncio.gather(*tasks)
    assert sum(verdict is Recorded.RECORDED for one in results for verdict in one.recorded) == 5
    assert await check_history(store, batch, 5) is BatchStatus.CANCELLED


@pytest.mark.parametrize("seed", range(4))
async def test_cancelling_amid_flushes_ends_the_batch_exactly_once(
    store: PostgresStore, tenant: Tenant, seed: int
) -> None:
    dice = random.Random(seed)
    batch = await make_batch(store, tenant, 30, callback=BOTH)
    rows = outcomes(batch, range(1, 31))
    dice.shuffle(rows)
    work = [flush_all(store, rows[start : start + 5]) for start in range(0, 30, 5)]
    cancels = [store.batches.cancel(tenant.environment_id, batch.batch_id) for _ in range(3)]
    mixed = [*work, *cancels]
    dice.shuffle(mixed)
    await asyncio.gather(*mixed)
    status = await check_history(store, batch, 30)
    assert status in {BatchStatus.CANCELLED, BatchStatus.COMPLETED}
    deliveries = (await store.deliveries.list(batch.batch_id, after=None, limit=100)).data
    assert sum(delivery.kind == "item" for delivery in deliveries) == 30
    assert sum(delivery.kind == "batch" for delivery in deliveries) == 1
