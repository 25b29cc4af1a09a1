"""Items: loaded for claims, read for windows, in bounded pieces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from scheduler.domain.errors import InvariantBroken
from scheduler.domain.ids import shard_of
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.domain.work import Entry
from scheduler.ports.store import Store
from scheduler.store import PostgresStore, item_store
from tests.store.factories import (
    BOTH,
    NOW,
    Tenant,
    make_batch,
    new_batch,
    new_id,
    new_items,
    outcome,
    outcomes,
)


def test_the_store_is_what_the_port_asks_for(store: PostgresStore) -> None:
    as_port: Store = store  # mypy compares all signatures
    assert as_port is store


async def test_a_load_brings_what_a_dispatcher_needs(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 4, callback=BOTH, deadline=NOW)
    other = await make_batch(store, tenant, 1)
    await store.outcomes.flush([outcome(batch, 1)])
    await postgres.execute("INSERT INTO item_runs VALUES ($1, 2, 2)", batch.batch_id)
    await store.batches.cancel(tenant.environment_id, other.batch_id)
    shard = shard_of(tenant.environment_id, 16)
    assert await store.shards.raise_epoch(shard, 0, "redis-1") == 1
    b, o = batch.batch_id, other.batch_id
    loaded = await store.items.load(shard, [(b, 1, 1), (b, 2, 1), (b, 3, 1), (o, 1, 1), (b, 5, 1), (new_id(), 1, 1)])
    assert loaded.epoch == 1
    assert abs(loaded.database_now - datetime.now(UTC)) < timedelta(minutes=1)
    assert loaded.items.keys() == {(b, 1), (b, 2), (b, 3), (o, 1)}
    assert [loaded.items[b, seq].finished for seq in (1, 2, 3)] == [True, True, False]
    third = loaded.items[b, 3]
    assert (third.run, third.current_run, third.batch_status) == (1, 1, BatchStatus.RUNNING)
    assert (third.deadline, third.wants_item_callbacks) == (NOW, True)
    assert (third.resource_id, third.endpoint, third.request) == (
        tenant.resource_id,
        "/v1/chat/completions",
        b'{"messages":[]}',
    )
    assert loaded.items[o, 1].batch_status is BatchStatus.CANCELLED
    assert not loaded.items[o, 1].wants_item_callbacks


async def test_a_load_of_nothing_still_tells_the_epoch(store: PostgresStore, tenant: Tenant) -> None:
    loaded = await store.items.load(3, [])
    assert (loaded.epoch, loaded.items) == (0, {})
    with pytest.raises(InvariantBroken, match="99"):
        await store.items.load(99, [])


async def test_a_window_brings_a_flow_s_unfinished_entries_in_order(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    mine, theirs = tenant.resource_id, tenant.other_resource_id
    items = [new_items(tenant, 1, resource_id=theirs if seq % 2 else mine, in_tokens=seq)[0] for seq in range(1, 11)]
    batch, _ = await store.batches.create(new_batch(tenant), items)
    await store.outcomes.flush([outcome(batch, 2), outcome(batch, 4, ItemStatus.FAILED), outcome(batch, 5)])
    await postgres.execute("INSERT INTO item_runs VALUES ($1, 4, 2)", batch.batch_id)
    window = store.items.window
    assert await window(batch.batch_id, mine, after_seq=0, limit=2) == (6, [Entry(4, 2, 4, 16), Entry(6, 1, 6, 16)])
    assert await window(batch.batch_id, mine, after_seq=6, limit=9) == (10, [Entry(8, 1, 8, 16), Entry(10, 1, 10, 16)])
    assert await window(batch.batch_id, mine, after_seq=10, limit=9) == (10, [])
    # Beyond the flow's last item the cursor goes to the end of the batch.
    assert (await window(batch.batch_id, theirs, after_seq=7, limit=9))[0] == 10
    assert await window(batch.batch_id, new_id(), after_seq=3, limit=9) == (3, [])
    assert await store.items.lowest_unfinished(batch.batch_id, mine) == 4
    assert await store.items.lowest_unfinished(batch.batch_id, theirs) == 1
    assert await store.items.lowest_unfinished(batch.batch_id, new_id()) is None


async def test_the_pieces_of_a_window_leave_nothing_out(
    store: PostgresStore, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_store, "_RANGE_SEQS", 10)
    batch = await make_batch(store, tenant, 100)
    await store.outcomes.flush(outcomes(batch, range(1, 51)))
    cursor, seen, calls = 0, [], 0
    while cursor < 100:
        cursor, entries = await store.items.window(batch.batch_id, tenant.resource_id, after_seq=cursor, limit=7)
        seen += [entry.position for entry in entries]
        calls += 1
    assert seen == list(range(51, 101))
    assert calls > 5 + 50 / 7  # empty answers moved the cursor through the finished part
    assert await store.items.lowest_unfinished(batch.batch_id, tenant.resource_id) == 51
    unfinished = await store.items.unfinished(batch.batch_id, after_seq=0, limit=5)
    assert unfinished == [(seq, 1, tenant.resource_id) for seq in range(51, 56)]


async def test_nothing_is_unfinished_when_all_have_outcomes(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 3)
    await store.outcomes.flush(outcomes(batch, [1, 2, 3]))
    assert await store.items.unfinished(batch.batch_id, after_seq=0, limit=5) == []
    assert await store.items.unfinished(new_id(), after_seq=0, limit=5) == []
    assert await store.items.lowest_unfinished(batch.batch_id, tenant.resource_id) is None


async def test_items_are_read_one_by_one_by_page_and_by_seq(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 5)
    page = await store.items.page(batch.batch_id, after_seq=1, limit=3)
    assert [item.seq for item in page] == [2, 3, 4]
    assert [item.seq for item in await store.items.items(batch.batch_id, [5, 1, 77])] == [1, 5]
    one = await store.items.item(tenant.environment_id, batch.batch_id, 2)
    assert one == page[0]
    assert one.status is ItemStatus.PENDING
    assert (one.environment_id, one.created_at, one.run) == (tenant.environment_id, batch.created_at, 1)
    assert await store.items.item(new_id(), batch.batch_id, 2) is None
    assert await store.items.item(tenant.environment_id, batch.batch_id, 6) is None


async def test_crashes_of_a_run_are_kept_and_never_lowered(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 3)

    async def known() -> list[int]:
        _, entries = await store.items.window(batch.batch_id, tenant.resource_id, after_seq=0, limit=9)
        return [entry.crashes for entry in entries]

    assert await known() == [0, 0, 0]
    await store.items.note_crashes([(batch.batch_id, 3, 1, 2), (batch.batch_id, 1, 1, 4)])
    await store.items.note_crashes([(batch.batch_id, 1, 1, 3), (batch.batch_id, 3, 1, 3)])
    assert await known() == [4, 0, 3]
    # Another run is another matter.
    await store.items.note_crashes([(batch.batch_id, 1, 2, 2)])
    assert await known() == [0, 0, 3]
    # A batch that is gone by now keeps nothing of the others from being noted.
    await store.items.note_crashes([(new_id(), 1, 1, 2), (batch.batch_id, 2, 1, 2)])
    assert await known() == [0, 2, 3]
