"""Batches: created whole or not at all, listed newest first, held and cancelled."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from scheduler.domain.batch import BatchEvent, ItemEvent, NewItem
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.errors import BrimError, Conflict, NotFound
from scheduler.domain.priority import Priority
from scheduler.domain.status import BatchStatus, BatchType, ItemStatus
from scheduler.store import PostgresStore
from tests.store.factories import BOTH, NOW, Tenant, make_batch, new_batch, new_id, new_items, outcome, outcomes

HASH = b"h" * 32


async def test_a_batch_comes_back_as_it_was_given(store: PostgresStore, tenant: Tenant) -> None:
    given = new_batch(
        tenant,
        type=BatchType.CALLBACK,
        callback=BOTH,
        capacity=(Capacity(Period.MINUTE, requests=60),),
        max_in_flight=3,
        priority=Priority.CRITICAL,
        metadata=b'{"a": "\\u0000"}',
        deadline=NOW + timedelta(days=1),
        api_key_id=tenant.api_key_id,
    )
    batch, flows = await store.batches.create(given, new_items(tenant, 3))
    assert (batch.callback, batch.capacity, batch.max_in_flight) == (BOTH, given.capacity, 3)
    assert (batch.priority, batch.metadata, batch.deadline) == (Priority.CRITICAL, given.metadata, given.deadline)
    assert (batch.api_key_id, batch.api_key_name) == (tenant.api_key_id, "dev")
    assert (batch.status, batch.total_items, batch.stored, batch.sealed) == (BatchStatus.PENDING, 3, 3, True)
    assert (batch.estimated_prompt_tokens, batch.last_event, batch.version) == (30, 1, 1)
    assert not batch.ended
    assert batch == await store.batches.get(tenant.environment_id, batch.batch_id)
    assert flows == await store.batches.flows(batch.batch_id)
    assert await store.batches.get(new_id(), batch.batch_id) is None


async def test_items_keep_every_byte_and_their_order(store: PostgresStore, tenant: Tenant) -> None:
    odd = NewItem(
        tenant.other_resource_id,
        "/v1/embeddings",
        b'{ "input":"\\u0000 \xff" }',
        1,
        0,
        "nul \0 and \ud800 ok",
        b"{}",
    )
    batch, flows = await store.batches.create(new_batch(tenant), [*new_items(tenant, 2), odd, *new_items(tenant, 1)])
    items = await store.items.page(batch.batch_id, after_seq=0, limit=10)
    assert [item.custom_id for item in items] == ["1", "2", odd.custom_id, "1"]
    assert (items[2].request, items[2].metadata, items[2].endpoint) == (odd.request, b"{}", "/v1/embeddings")
    assert [(flow.resource_id, flow.items, flow.first, flow.last) for flow in flows] == [
        (tenant.resource_id, 3, 1, 4),
        (tenant.other_resource_id, 1, 3, 3),
    ]


async def test_a_large_batch_leaves_the_event_loop_free(store: PostgresStore, tenant: Tenant) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    items = new_items(tenant, 20_000)
    counter = asyncio.create_task(count_turns())
    await store.batches.create(new_batch(tenant), items)
    counter.cancel()
    assert turns > 40  # others ran at least every 500 items


async def test_creation_is_event_1_with_the_batch_as_it_was(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 2)
    await store.outcomes.flush(outcomes(batch, [1, 2]))
    created, first, second, ended = await store.outcomes.events(batch.batch_id, after=0, limit=10)
    assert created == BatchEvent(1, "batch-created", batch)
    assert isinstance(first, ItemEvent)
    assert isinstance(second, ItemEvent)
    assert isinstance(ended, BatchEvent)
    assert (ended.event_no, ended.action, ended.batch.status) == (4, "batch-completed", BatchStatus.COMPLETED)


async def test_a_batch_on_a_deleted_resource_is_refused_whole(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    items = [*new_items(tenant, 2), *new_items(tenant, 1, resource_id=new_id())]
    with pytest.raises(NotFound) as caught:
        await store.batches.create(new_batch(tenant), items)
    assert caught.value.code == "AI_RESOURCE_NOT_FOUND"
    with pytest.raises(NotFound):
        await store.batches.create(new_batch(tenant, workspace_id=new_id()), new_items(tenant, 1))
    assert await postgres.fetchval("SELECT count(*) FROM items") == 0
    assert await postgres.fetchval("SELECT count(*) FROM batches") == 0


async def test_batches_are_listed_newest_first_in_pages(store: PostgresStore, tenant: Tenant) -> None:
    ids = sorted([(await make_batch(store, tenant, 1)).batch_id for _ in range(5)], reverse=True)
    await store.batches.cancel(tenant.environment_id, ids[1])
    await store.batches.cancel(tenant.environment_id, ids[4])
    first = await store.batches.list(tenant.environment_id, limit=3, after=None, status=None)
    assert [batch.batch_id for batch in first.data] == ids[:3]
    assert first.next_after == str(ids[2])
    rest = await store.batches.list(tenant.environment_id, limit=3, after=ids[2], status=None)
    assert ([batch.batch_id for batch in rest.data], rest.next_after) == (ids[3:], None)
    cancelled = await store.batches.list(tenant.environment_id, limit=1, after=None, status=BatchStatus.CANCELLED)
    assert ([batch.batch_id for batch in cancelled.data], cancelled.next_after) == ([ids[1]], str(ids[1]))
    last = await store.batches.list(tenant.environment_id, limit=1, after=ids[1], status=BatchStatus.CANCELLED)
    assert ([batch.batch_id for batch in last.data], last.next_after) == ([ids[4]], None)
    assert (await store.batches.list(new_id(), limit=3, after=None, status=None)).data == ()


async def test_an_idempotency_key_answers_with_its_batch_once_that_exists(store: PostgresStore, tenant: Tenant) -> None:
    reserve, environment_id, batch_id = store.batches.reserve_idempotency, tenant.environment_id, new_id()
    assert not (await reserve(environment_id, "k", HASH, batch_id)).replay
    with pytest.raises(Conflict) as caught:
        await reserve(environment_id, "k", HASH, new_id())
    assert caught.value.code == "IN_PROGRESS"
    await make_batch(store, tenant, 1, batch_id=batch_id)
    again = await reserve(environment_id, "k", HASH, new_id())
    assert (again.replay, again.batch_id) == (True, batch_id)
    with pytest.raises(Conflict) as caught:
        await reserve(environment_id, "k", b"other", new_id())
    assert caught.value.code == "IDEMPOTENCY_CONFLICT"
    # A creation that failed after all gives nothing back once the batch exists.
    await store.batches.release_idempotency(environment_id, "k", batch_id)
    assert (await reserve(environment_id, "k", HASH, new_id())).replay


async def test_one_of_many_at_once_gets_the_idempotency_key(store: PostgresStore, tenant: Tenant) -> None:
    async def attempt() -> bool:
        try:
            return not (await store.batches.reserve_idempotency(tenant.environment_id, "k", HASH, new_id())).replay
        except Conflict:
            return False

    assert sum(await asyncio.gather(*(attempt() for _ in range(12)))) == 1


@pytest.mark.parametrize(
    ("age", "body_hash", "free"),
    [("25 seconds", HASH, False), ("35 seconds", HASH, True), ("9 minutes", b"", False), ("11 minutes", b"", True)],
)
async def test_a_key_without_a_batch_is_taken_over_when_its_creation_must_have_died(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection, age: str, body_hash: bytes, free: bool
) -> None:
    """After 30 s; after 10 minutes if its body was still to come."""
    await store.batches.reserve_idempotency(tenant.environment_id, "k", body_hash, new_id())
    await postgres.execute(f"UPDATE idempotency_keys SET created_at = now() - interval '{age}'")
    try:
        taken = not (await store.batches.reserve_idempotency(tenant.environment_id, "k", HASH, new_id())).replay
    except Conflict:
        taken = False
    assert taken is free


async def test_a_creation_whose_key_was_taken_over_stores_nothing(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    slow, quick = new_id(), new_id()
    await store.batches.reserve_idempotency(tenant.environment_id, "k", HASH, slow)
    await postgres.execute("UPDATE idempotency_keys SET created_at = now() - interval '1 minute'")
    await store.batches.reserve_idempotency(tenant.environment_id, "k", HASH, quick)
    with pytest.raises(Conflict) as caught:
        await make_batch(store, tenant, 1, batch_id=slow, idempotency_key="k")
    assert caught.value.code == "IN_PROGRESS"
    assert await store.batches.get(tenant.environment_id, slow) is None
    await make_batch(store, tenant, 1, batch_id=quick, idempotency_key="k")
    again = await store.batches.reserve_idempotency(tenant.environment_id, "k", HASH, new_id())
    assert (again.replay, again.batch_id) == (True, quick)


async def test_a_key_is_free_again_after_a_day_or_a_failed_creation(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    reserve, environment_id, batch_id = store.batches.reserve_idempotency, tenant.environment_id, new_id()
    await reserve(environment_id, "k", HASH, batch_id)
    await store.batches.release_idempotency(environment_id, "k", batch_id)
    assert not (await reserve(environment_id, "k", b"other", batch_id)).replay
    await make_batch(store, tenant, 1, batch_id=batch_id)
    await postgres.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert not (await reserve(environment_id, "k", HASH, new_id())).replay


async def test_pausing_raises_the_version_only_when_it_changes_something(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 1)
    for paused, version in [(True, 2), (True, 2), (False, 3)]:
        held = await store.batches.set_paused(tenant.environment_id, batch.batch_id, paused)
        assert held is not None
        assert (held.paused, held.version) == (paused, version)
    await store.batches.cancel(tenant.environment_id, batch.batch_id)
    with pytest.raises(Conflict, match="CANCELLED"):
        await store.batches.set_paused(tenant.environment_id, batch.batch_id, True)
    assert await store.batches.set_paused(tenant.environment_id, new_id(), True) is None


async def test_only_pending_batches_become_running(store: PostgresStore, tenant: Tenant) -> None:
    pending, cancelled = await make_batch(store, tenant, 1), await make_batch(store, tenant, 1)
    await store.batches.cancel(tenant.environment_id, cancelled.batch_id)
    await store.batches.mark_running([cancelled.batch_id, pending.batch_id, new_id()])
    states = {
        batch.batch_id: batch.status for batch in await store.shards.batches([pending.batch_id, cancelled.batch_id])
    }
    assert states == {pending.batch_id: BatchStatus.RUNNING, cancelled.batch_id: BatchStatus.CANCELLED}


async def test_cancelling_waits_with_its_event_for_the_last_outcome(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 3, callback=BOTH)
    await store.outcomes.flush([outcome(batch, 1)])
    cancelled = await store.batches.cancel(tenant.environment_id, batch.batch_id)
    assert cancelled is not None
    assert (cancelled.status, cancelled.version, cancelled.ended) == (BatchStatus.CANCELLED, 2, False)
    # A running item ends well, a waiting one is cancelled by the duty, which has no lease.
    flushed = await store.outcomes.flush([outcome(batch, 2), outcome(batch, 3, ItemStatus.CANCELLED, valid_until=None)])
    assert [one.ended for one in flushed.batches] == [True]
    *_, end = await store.outcomes.events(batch.batch_id, after=0, limit=10)
    assert isinstance(end, BatchEvent)
    assert (end.action, end.event_no, end.batch.status) == ("batch-cancelled", 5, BatchStatus.CANCELLED)
    assert (end.batch.completed, end.batch.failed, end.batch.cancelled) == (2, 0, 1)


async def test_cancelling_a_final_batch_changes_nothing(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 1)
    await store.outcomes.flush([outcome(batch, 1)])
    final = await store.batches.get(tenant.environment_id, batch.batch_id)
    assert await store.batches.cancel(tenant.environment_id, batch.batch_id) == final
    assert await store.batches.cancel(new_id(), batch.batch_id) is None


async def test_a_batch_that_is_full_but_not_ended_is_ended_once(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 1)
    await postgres.execute("UPDATE batches SET sealed = false")
    flushed = await store.outcomes.flush([outcome(batch, 1)])
    assert not flushed.batches[0].ended
    assert await store.batches.end_full([batch.batch_id]) == ()
    await postgres.execute("UPDATE batches SET sealed = true")
    ended = await asyncio.gather(*(store.batches.end_full([batch.batch_id]) for _ in range(3)))
    assert sorted(len(one) for one in ended) == [0, 0, 1]
    numbers = [event.event_no for event in await store.outcomes.events(batch.batch_id, after=0, limit=10)]
    assert numbers == [1, 2, 3]


async def test_a_batch_without_items_is_a_bug_of_ours(store: PostgresStore, tenant: Tenant) -> None:
    with pytest.raises(BrimError, match="without items"):
        await store.batches.create(new_batch(tenant), [])
