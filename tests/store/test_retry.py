"""Retry in the store: runs rise, outcomes stay as history, numbers go on, late outcomes of the old run are refused."""

from __future__ import annotations

import asyncio
import json
import os

import asyncpg
import pytest

from scheduler.domain.batch import BatchEvent, ItemEvent
from scheduler.domain.errors import Conflict
from scheduler.domain.outcome import Recorded
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.store import PostgresStore
from tests.store.factories import Tenant, make_batch, new_batch, new_items, outcome, outcomes


async def test_only_failed_items_run_again_and_the_batch_is_open(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 4)
    await store.outcomes.flush([*outcomes(batch, [1, 2]), outcome(batch, 3, ItemStatus.FAILED)])
    await store.outcomes.flush([outcome(batch, 4, ItemStatus.FAILED)])
    before = await store.batches.get(tenant.environment_id, batch.batch_id)
    assert before is not None
    assert before.ended
    answer = await store.batches.retry(tenant.environment_id, batch.batch_id)
    assert answer is not None
    after, reopened = answer
    assert reopened
    assert (after.status, after.ended) == (BatchStatus.RUNNING, False)
    assert (after.completed, after.failed, after.cancelled) == (2, 0, 0)
    assert (after.version, after.last_event) == (before.version + 1, before.last_event)
    assert await store.items.window(batch.batch_id, tenant.resource_id, after_seq=0, limit=9) == (
        4,
        [(3, 2, 10, 16, 0, 0, 0), (4, 2, 10, 16, 0, 0, 0)],
    )
    assert await store.items.retried_runs(batch.batch_id, [1, 2, 3, 4]) == {3: 2, 4: 2}
    flows = await store.shards.unfinished_flows(
        (await store.batches.flows(batch.batch_id))[0].shard, after=None, limit=9
    )
    assert [flow.batch_id for flow in flows] == [batch.batch_id]


async def test_numbers_go_on_and_history_stays(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 2)
    await store.outcomes.flush([outcome(batch, 1), outcome(batch, 2, ItemStatus.FAILED)])
    await store.batches.retry(tenant.environment_id, batch.batch_id)
    again = await store.outcomes.flush([outcome(batch, 2, run=2)])
    assert again.recorded == (Recorded.RECORDED,)
    assert again.batches[0].ended
    events = await store.outcomes.events(batch.batch_id, after=0, limit=10)
    told = [
        (event.event_no, event.action if isinstance(event, BatchEvent) else (event.item.run, event.item.status))
        for event in events
    ]
    assert told == [
        (1, "batch-created"),
        (2, (1, ItemStatus.COMPLETED)),
        (3, (1, ItemStatus.FAILED)),
        (4, "batch-failed"),
        (5, (2, ItemStatus.COMPLETED)),
        (6, "batch-completed"),
    ]
    assert isinstance(events[2], ItemEvent)
    assert events[2].item.error_code == "PROVIDER_ERROR"
    assert isinstance(events[3], BatchEvent)
    assert (events[3].batch.status, events[3].batch.failed) == (BatchStatus.FAILED, 1)


async def test_a_late_outcome_of_the_old_run_is_refused(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 2)
    failed = [outcome(batch, seq, ItemStatus.FAILED) for seq in (1, 2)]
    await store.outcomes.flush(failed)
    await store.batches.retry(tenant.environment_id, batch.batch_id)
    late = await store.outcomes.flush([outcome(batch, 1), outcome(batch, 2, run=1)])
    assert late.recorded == (Recorded.DUPLICATE, Recorded.DUPLICATE)
    early = await store.outcomes.flush([outcome(batch, 1, run=3)])
    assert early.recorded == (Recorded.STALE,)
    loaded = await store.items.load(
        (await store.batches.flows(batch.batch_id))[0].shard, [(batch.batch_id, 1, 1), (batch.batch_id, 2, 2)]
    )
    assert loaded.items[(batch.batch_id, 1)].finished
    assert not loaded.items[(batch.batch_id, 2)].finished
    now = await store.batches.get(tenant.environment_id, batch.batch_id)
    assert now is not None
    assert (now.completed, now.failed) == (0, 0)


async def test_retries_and_flushes_at_once_count_exactly(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 20)
    await store.outcomes.flush([outcome(batch, seq, ItemStatus.FAILED) for seq in range(1, 21)])
    environment = tenant.environment_id
    answers = await asyncio.gather(
        *(store.batches.retry(environment, batch.batch_id) for _ in range(4)),
        *(store.outcomes.flush([outcome(batch, seq, run=2)], wait_for_locks=True) for seq in range(1, 11)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, Conflict) for answer in answers[:4]) == 3
    assert [answer[1] for answer in answers[:4] if isinstance(answer, tuple)] == [20]
    rest = [outcome(batch, seq, run=2) for seq in range(1, 21)]
    await store.outcomes.flush(rest, wait_for_locks=True)
    now = await store.batches.get(environment, batch.batch_id)
    assert now is not None
    assert (now.status, now.completed, now.failed, now.last_event) == (BatchStatus.COMPLETED, 20, 0, 43)
    numbers = [event.event_no for event in await store.outcomes.events(batch.batch_id, after=0, limit=99)]
    assert numbers == list(range(1, 44))


async def test_before_the_end_it_is_refused_and_without_failures_nothing_changes(
    store: PostgresStore, tenant: Tenant
) -> None:
    batch = await make_batch(store, tenant, 2)
    await store.outcomes.flush([outcome(batch, 1, ItemStatus.FAILED)])
    with pytest.raises(Conflict) as refused:
        await store.batches.retry(tenant.environment_id, batch.batch_id)
    assert refused.value.code == "INVALID_STATE"
    good = await make_batch(store, tenant, 2)
    await store.outcomes.flush(outcomes(good, [1, 2]))
    before = await store.batches.get(tenant.environment_id, good.batch_id)
    assert await store.batches.retry(tenant.environment_id, good.batch_id) == (before, False)
    assert await store.batches.retry(tenant.workspace_id, good.batch_id) is None


async def test_cancelled_items_stay_and_the_batch_ends_cancelled(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 2)
    await store.outcomes.flush([outcome(batch, 1, ItemStatus.FAILED)])
    await store.batches.cancel(tenant.environment_id, batch.batch_id)
    with pytest.raises(Conflict):
        await store.batches.retry(tenant.environment_id, batch.batch_id)
    await store.outcomes.flush([outcome(batch, 2, ItemStatus.CANCELLED)])
    answer = await store.batches.retry(tenant.environment_id, batch.batch_id)
    assert answer is not None
    assert (answer[0].status, answer[0].cancelled, answer[0].failed) == (BatchStatus.RUNNING, 1, 0)
    await store.outcomes.flush([outcome(batch, 1, run=2)])
    ended = await store.batches.get(tenant.environment_id, batch.batch_id)
    assert ended is not None
    assert (ended.status, ended.completed, ended.cancelled) == (BatchStatus.CANCELLED, 1, 1)


async def test_the_requests_of_items_that_ran_are_not_read_to_find_them(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    """Long requests lie out of line: reading a million of them to count failures would be gigabytes."""
    items = new_items(tenant, 40, request=b'{"x":"' + os.urandom(10_000).hex().encode() + b'"}')
    batch, _ = await store.batches.create(new_batch(tenant), items)
    await store.outcomes.flush([outcome(batch, seq, ItemStatus.FAILED) for seq in range(1, 41)])

    async def found() -> tuple[int, int]:
        """How many can be run again, and how many pages were looked at to know it."""
        counting = f"SELECT count(*) FROM failed_items('{batch.batch_id}', NULL, NULL, 0, NULL) f WHERE f.runnable"
        [plan] = json.loads(await postgres.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {counting}"))
        pages = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        return await postgres.fetchval(counting), pages

    async def change(assignment: str) -> None:
        await postgres.execute(f"UPDATE outcomes SET {assignment} WHERE batch_id = $1", batch.batch_id)

    await change("error_code = error_code")
    count, pages = await found()
    await change("started_at = NULL")
    read_count, read_pages = await found()
    assert (count, read_count) == (40, 40)
    assert read_pages - pages >= 2 * 40
    await change("error_code = 'DEADLINE_EXCEEDED'")
    late_count, late_pages = await found()
    assert late_count == 40
    assert late_pages - pages < 40


async def test_single_items_run_again(store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection) -> None:
    batch = await make_batch(store, tenant, 3)
    await store.outcomes.flush([outcome(batch, seq, ItemStatus.FAILED) for seq in (1, 2, 3)])
    answer = await store.batches.retry(tenant.environment_id, batch.batch_id, [2, 77])
    assert answer is not None
    assert answer[0].failed == 2
    await store.outcomes.flush([outcome(batch, 2, ItemStatus.FAILED, run=2)])
    await store.batches.retry(tenant.environment_id, batch.batch_id, [2])
    assert [tuple(row) for row in await postgres.fetch("SELECT seq, run FROM item_runs")] == [(2, 3)]
