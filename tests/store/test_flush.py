"""The flush: each outcome once, numbered without a gap, refused when it comes too late."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from scheduler.domain.batch import BatchEvent, Event, ItemEvent
from scheduler.domain.outcome import Recorded
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.store import PostgresStore, outcome_store
from tests.store.factories import BOTH, Tenant, make_batch, new_id, outcome, outcomes

RECORDED, DUPLICATE, STALE, DEFERRED = (
    Recorded.RECORDED,
    Recorded.DUPLICATE,
    Recorded.STALE,
    Recorded.DEFERRED,
)


def seq_of(event: Event) -> int:
    """The seq of an item event, 0 for one of the batch."""
    return event.item.seq if isinstance(event, ItemEvent) else 0


async def test_outcomes_are_numbered_in_the_order_given(store: PostgresStore, tenant: Tenant) -> None:
    first, second = await make_batch(store, tenant, 4), await make_batch(store, tenant, 4)
    mixed = [outcome(first, 3), outcome(second, 2), outcome(first, 1), outcome(second, 4)]
    flushed = await store.outcomes.flush(mixed)
    assert flushed.recorded == (RECORDED,) * 4
    assert {batch.batch_id: (batch.last_event, batch.ended) for batch in flushed.batches} == {
        first.batch_id: (3, False),
        second.batch_id: (3, False),
    }
    for batch, order in ((first, [0, 3, 1]), (second, [0, 2, 4])):
        events = await store.outcomes.events(batch.batch_id, after=0, limit=10)
        assert [seq_of(event) for event in events] == order
        assert [event.event_no for event in events] == [1, 2, 3]


async def test_an_event_shows_the_item_as_its_outcome_left_it(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 3)
    good = outcome(batch, 1, connection_id=tenant.connection_id, retry_count=2)
    bad = outcome(batch, 2, ItemStatus.FAILED, connection_id=new_id())
    await store.outcomes.flush([good, bad])
    completed, failed = (
        event.item
        for event in await store.outcomes.events(batch.batch_id, after=1, limit=10)
        if isinstance(event, ItemEvent)
    )
    assert (completed.status, completed.response, completed.response_headers) == (
        ItemStatus.COMPLETED,
        good.response,
        good.response_headers,
    )
    assert (completed.served_connection, completed.served_model, completed.retry_count) == ("sim", "b", 2)
    assert (completed.prompt_tokens, completed.output_tokens, completed.event_no) == (9, 5, 2)
    assert (completed.started_at, completed.completed_at) == (good.started_at, good.completed_at)
    assert (failed.status, failed.error_code, failed.error_message) == (
        ItemStatus.FAILED,
        "PROVIDER_ERROR",
        "It said no.",
    )
    assert (failed.response, failed.served_connection) == (None, str(bad.connection_id))
    assert await store.items.item(tenant.environment_id, batch.batch_id, 2) == failed


async def test_the_second_outcome_of_a_run_is_a_duplicate(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 2)
    late = outcome(batch, 1, ItemStatus.FAILED, valid_until=datetime.now(UTC) - timedelta(seconds=1))
    flushed = await store.outcomes.flush([outcome(batch, 1), outcome(batch, 1, ItemStatus.FAILED), outcome(batch, 2)])
    assert flushed.recorded == (RECORDED, DUPLICATE, RECORDED)
    # What was recorded stays a duplicate after its deadline: the caller may still settle.
    assert (await store.outcomes.flush([outcome(batch, 1), late])).recorded == (DUPLICATE, DUPLICATE)
    stored = await store.batches.get(tenant.environment_id, batch.batch_id)
    assert stored is not None
    assert (stored.completed, stored.failed, stored.last_event) == (2, 0, 4)
    assert (stored.prompt_tokens, stored.output_tokens) == (18, 10)


async def test_an_outcome_after_its_deadline_is_stale(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 2)
    past = datetime.now(UTC) - timedelta(milliseconds=1)
    flushed = await store.outcomes.flush([outcome(batch, 1, valid_until=past), outcome(batch, 1), outcome(batch, 2)])
    assert flushed.recorded == (STALE, RECORDED, RECORDED)
    assert flushed.batches[0].ended


async def test_only_the_current_run_is_recorded(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 2)
    await store.outcomes.flush([outcome(batch, 1, ItemStatus.FAILED)])
    # What a retry does, which is not built yet.
    await postgres.execute("INSERT INTO item_runs VALUES ($1, 1, 2)", batch.batch_id)
    await postgres.execute("UPDATE batches SET failed = 0")
    flushed = await store.outcomes.flush(
        [outcome(batch, 2, run=2), outcome(batch, 1, run=3), outcome(batch, 1), outcome(batch, 1, run=2)]
    )
    assert flushed.recorded == (STALE, STALE, DUPLICATE, RECORDED)
    item = await store.items.item(tenant.environment_id, batch.batch_id, 1)
    assert item is not None
    assert (item.run, item.status) == (2, ItemStatus.COMPLETED)
    # The first run stays in the history, as it was.
    events = await store.outcomes.events(batch.batch_id, after=1, limit=10)
    assert [(event.item.run, event.item.status) for event in events if isinstance(event, ItemEvent)] == [
        (1, ItemStatus.FAILED),
        (2, ItemStatus.COMPLETED),
    ]


async def test_an_outcome_of_nothing_known_is_stale(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 2)
    flushed = await store.outcomes.flush([outcome(batch, 0), outcome(batch, 3), outcome(new_id(), 1)])
    assert flushed.recorded == (STALE, STALE, STALE)
    assert (await store.outcomes.flush([])).recorded == ()


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ((ItemStatus.COMPLETED, ItemStatus.COMPLETED), BatchStatus.COMPLETED),
        ((ItemStatus.COMPLETED, ItemStatus.FAILED), BatchStatus.FAILED),
        ((ItemStatus.FAILED, ItemStatus.FAILED), BatchStatus.FAILED),
        # Items that stayed cancelled over a retry.
        ((ItemStatus.COMPLETED, ItemStatus.CANCELLED), BatchStatus.CANCELLED),
    ],
)
async def test_the_last_outcome_ends_the_batch_with_the_next_number(
    store: PostgresStore, tenant: Tenant, ends: tuple[ItemStatus, ItemStatus], status: BatchStatus
) -> None:
    batch = await make_batch(store, tenant, 2)
    await store.outcomes.flush([outcome(batch, 1, ends[0])])
    running = await store.batches.get(tenant.environment_id, batch.batch_id)
    assert running is not None
    assert (running.status, running.ended) == (BatchStatus.RUNNING, False)
    await store.outcomes.flush([outcome(batch, 2, ends[1])])
    end = (await store.outcomes.events(batch.batch_id, after=3, limit=10))[0]
    assert isinstance(end, BatchEvent)
    assert (end.event_no, end.action) == (4, f"batch-{status.lower()}")
    assert end.batch == await store.batches.get(tenant.environment_id, batch.batch_id)
    assert end.batch.completed_at is not None
    assert (end.batch.status, end.batch.last_event, end.batch.finished) == (status, 4, 2)


async def test_readers_may_stop_and_go_on_anywhere(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 30)
    for first in range(1, 31, 7):
        await store.outcomes.flush(outcomes(batch, range(first, min(first + 7, 31))))
    whole = await store.outcomes.events(batch.batch_id, after=0, limit=100)
    assert [event.event_no for event in whole] == list(range(1, 33))
    pieces: list[Event] = []
    while piece := await store.outcomes.events(batch.batch_id, after=len(pieces), limit=5):
        pieces += piece
    assert pieces == whole


async def test_an_unsealed_batch_does_not_end(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 1)
    await postgres.execute("UPDATE batches SET sealed = false")
    flushed = await store.outcomes.flush([outcome(batch, 1)])
    assert not flushed.batches[0].ended


async def test_text_that_postgres_refuses_is_made_storable(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 1)
    odd = outcome(
        batch,
        1,
        ItemStatus.FAILED,
        error_message="nul \0 lone \ud800",
        error_code="A\0",
        response_headers={"h": "\0\ud800"},
    )
    assert (await store.outcomes.flush([odd])).recorded == (RECORDED,)
    item = await store.items.item(tenant.environment_id, batch.batch_id, 1)
    assert item is not None
    assert (item.error_message, item.error_code) == ("nul \ufffd lone ?", "A\ufffd")
    assert item.response_headers is not None


async def test_a_row_that_cannot_be_stored_fails_alone(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 9)
    rows = outcomes(batch, range(1, 10))
    rows[4] = outcome(batch, 5, output_tokens=1 << 40)  # refused by the driver
    rows[7] = outcome(batch, 8, model="x", error_message=None, prompt_tokens=-(1 << 33))
    flushed = await store.outcomes.flush(rows)
    assert flushed.recorded == (RECORDED,) * 9
    items = await store.items.page(batch.batch_id, after_seq=0, limit=10)
    assert {item.seq: item.error_code for item in items if item.status is ItemStatus.FAILED} == {
        5: "RESPONSE_NOT_STORABLE",
        8: "RESPONSE_NOT_STORABLE",
    }
    assert flushed.batches[-1].ended
    numbers = [event.event_no for event in await store.outcomes.events(batch.batch_id, after=0, limit=20)]
    assert numbers == list(range(1, 12))


async def test_a_refusal_inside_postgres_is_bisected_too(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await postgres.execute("ALTER TABLE outcomes ADD CONSTRAINT t CHECK (response <> 'poison')")
    batch = await make_batch(store, tenant, 5)
    rows = outcomes(batch, range(1, 6))
    rows[2] = outcome(batch, 3, response=b"poison")
    assert (await store.outcomes.flush(rows)).recorded == (RECORDED,) * 5
    item = await store.items.item(tenant.environment_id, batch.batch_id, 3)
    assert item is not None
    assert (item.status, item.error_code, item.response) == (ItemStatus.FAILED, "RESPONSE_NOT_STORABLE", None)


async def test_bodies_too_large_for_one_statement_take_several(
    store: PostgresStore, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome_store, "_CHUNK_BYTES", 3_000)
    monkeypatch.setattr(outcome_store, "_LARGEST_BODY_BYTES", 5_000)
    batch = await make_batch(store, tenant, 6, callback=BOTH)
    rows = outcomes(batch, range(1, 6), response=b"x" * 1_000)
    rows.append(outcome(batch, 6, response=b"x" * 5_001))
    flushed = await store.outcomes.flush(rows)
    assert flushed.recorded == (RECORDED,) * 6
    assert flushed.deliveries == 7
    (touched,) = flushed.batches
    assert (touched.last_event, touched.ended) == (8, True)
    item = await store.items.item(tenant.environment_id, batch.batch_id, 6)
    assert item is not None
    assert item.error_code == "RESPONSE_NOT_STORABLE"


async def test_a_locked_batch_defers_its_own_outcomes_only(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    locked, free = await make_batch(store, tenant, 2), await make_batch(store, tenant, 2)
    rows = [outcome(locked, 1), outcome(free, 1), outcome(locked, 2)]
    async with postgres.transaction():
        await postgres.execute("SELECT FROM batches WHERE batch_id = $1 FOR UPDATE", locked.batch_id)
        flushed = await store.outcomes.flush(rows)
        assert flushed.recorded == (DEFERRED, RECORDED, DEFERRED)
        assert [batch.batch_id for batch in flushed.batches] == [free.batch_id]
    assert (await store.outcomes.flush(rows)).recorded == (RECORDED, DUPLICATE, RECORDED)


async def test_a_flush_that_waits_judges_deadlines_when_it_has_the_lock(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 2)
    soon = datetime.now(UTC) + timedelta(milliseconds=200)
    async with postgres.transaction():
        await postgres.execute("SELECT FROM batches WHERE batch_id = $1 FOR UPDATE", batch.batch_id)
        flush = asyncio.create_task(
            store.outcomes.flush([outcome(batch, 1, valid_until=soon), outcome(batch, 2)], wait_for_locks=True)
        )
        await postgres.execute("SELECT pg_sleep_until($1)", soon + timedelta(milliseconds=50))
        assert not flush.done()
    assert (await flush).recorded == (STALE, RECORDED)
