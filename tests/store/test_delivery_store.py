"""The outbox: what is due is leased to one sender, fairly over receivers, until it is recorded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from scheduler.domain.batch import Batch, CallbackOptions, Item
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.ports.deliveries import Delivery, DeliveryResult
from scheduler.store import PostgresStore, delivery_store
from tests.store.factories import BOTH, Tenant, make_batch, outcome, outcomes


def at(host: str) -> CallbackOptions:
    """Callbacks of every kind to a host."""
    return replace(BOTH, url=f"https://{host}/hook")


def delivered(delivery: Delivery) -> DeliveryResult:
    """It was acknowledged."""
    return DeliveryResult(delivery.delivery_id, True, None, None, 200)


async def expire_leases(postgres: asyncpg.Connection) -> None:
    """As if the time of all leases were over."""
    await postgres.execute("UPDATE deliveries SET due_at = now() WHERE holder IS NOT NULL")


async def test_a_delivery_carries_what_its_event_was(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 2, callback=BOTH)
    now = datetime.now(UTC)
    await store.deliveries.add_running([(batch.batch_id, 1, 1), (batch.batch_id, 2, 1)], now)
    flushed = await store.outcomes.flush([outcome(batch, 1), outcome(batch, 2, ItemStatus.FAILED)])
    assert flushed.deliveries == 3
    claimed = await store.deliveries.claim("me", 10, 30)
    items = {(one.payload.seq, one.payload.status): one for one in claimed if isinstance(one.payload, Item)}
    assert items.keys() == {
        (1, ItemStatus.RUNNING),
        (2, ItemStatus.RUNNING),
        (1, ItemStatus.COMPLETED),
        (2, ItemStatus.FAILED),
    }
    assert {one.event_name for one in items.values()} == {"ITEM_UPDATE"}
    # Still as of its start, although the outcome is known by now.
    running = items[1, ItemStatus.RUNNING].payload
    assert isinstance(running, Item)
    assert (running.started_at, running.completed_at, running.response, running.event_no) == (now, None, None, None)
    completed = items[1, ItemStatus.COMPLETED].payload
    assert completed == await store.items.item(tenant.environment_id, batch.batch_id, 1)
    (end,) = [one for one in claimed if isinstance(one.payload, Batch)]
    assert (end.event_name, end.callback, end.attempts) == ("BATCH_UPDATE", BOTH, 0)
    assert end.payload == await store.batches.get(tenant.environment_id, batch.batch_id)
    assert isinstance(end.payload, Batch)
    assert end.payload.status is BatchStatus.FAILED


@pytest.mark.parametrize(
    ("events", "kinds"),
    [
        (("item_update",), {"item": 2, "running": 1}),
        (("batch_update",), {"batch": 1}),
        (("all",), {"item": 2, "running": 1, "batch": 1}),
    ],
)
async def test_only_the_events_asked_for_are_delivered(
    store: PostgresStore, tenant: Tenant, events: frozenset[str], kinds: dict[str, int]
) -> None:
    batch = await make_batch(store, tenant, 2, callback=replace(BOTH, events=events))  # type: ignore[arg-type]
    plain = await make_batch(store, tenant, 2)
    await store.deliveries.add_running([(batch.batch_id, 1, 1), (plain.batch_id, 1, 1)], datetime.now(UTC))
    await store.outcomes.flush([*outcomes(batch, [1, 2]), *outcomes(plain, [1, 2])])
    listed = (await store.deliveries.list(batch.batch_id, after=None, limit=10)).data
    assert Counter(one.kind for one in listed) == kinds
    assert (await store.deliveries.list(plain.batch_id, after=None, limit=10)).data == ()


async def test_a_run_that_is_told_again_keeps_its_id(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 3, callback=BOTH)
    now = datetime.now(UTC)
    await store.deliveries.add_running([(batch.batch_id, 1, 1), (batch.batch_id, 2, 1)], now)
    before = (await store.deliveries.list(batch.batch_id, after=None, limit=10)).data
    (first, second) = await store.deliveries.claim("me", 10, 30)
    await store.deliveries.record("me", [delivered(first)])
    # Its calls left too late, or its worker died: claimed again, told again.
    await store.deliveries.add_running([(batch.batch_id, 3, 1), (batch.batch_id, 2, 1), (batch.batch_id, 1, 1)], now)
    after = (await store.deliveries.list(batch.batch_id, after=None, limit=10)).data
    assert {(one.seq, one.delivery_id) for one in before} < {(one.seq, one.delivery_id) for one in after}
    assert sorted(one.seq or 0 for one in after) == [1, 2, 3]
    assert [one.state for one in after if one.delivery_id == first.delivery_id] == ["delivered"]
    assert {one.delivery_id for one in await store.deliveries.claim("me", 10, 30)}.isdisjoint(
        {first.delivery_id, second.delivery_id}
    )
    # Another run is another event.
    await store.deliveries.add_running([(batch.batch_id, 1, 2)], now)
    assert len((await store.deliveries.list(batch.batch_id, after=None, limit=10)).data) == 4


async def test_many_holders_of_the_same_items_tell_each_run_once(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 200, callback=BOTH)
    items = [(batch.batch_id, seq, 1) for seq in range(1, 201)]
    backwards = list(reversed(items))
    now = datetime.now(UTC)
    await asyncio.gather(*(store.deliveries.add_running(items if n % 2 else backwards, now) for n in range(8)))
    listed = (await store.deliveries.list(batch.batch_id, after=None, limit=1_000)).data
    assert sorted(one.seq or 0 for one in listed) == list(range(1, 201))


async def test_one_delivery_goes_to_one_sender(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 40, callback=BOTH)
    await store.outcomes.flush(outcomes(batch, range(1, 41)))
    claims: Sequence[Sequence[Delivery]] = await asyncio.gather(
        *(store.deliveries.claim(f"sender-{n}", 10, 30) for n in range(6))
    )
    ids = [one.delivery_id for claim in claims for one in claim]
    assert len(ids) == len(set(ids))
    rest = await store.deliveries.claim("last", 100, 30)
    assert len(ids) + len(rest) == 41
    assert await store.deliveries.claim("last", 100, 30) == ()


async def test_a_lease_that_is_not_recorded_comes_back(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 2, callback=BOTH)
    await store.outcomes.flush([outcome(batch, 1)])
    (lost,) = await store.deliveries.claim("dead", 10, 30)
    assert await store.deliveries.claim("alive", 10, 30) == ()
    await expire_leases(postgres)
    (found,) = await store.deliveries.claim("alive", 10, 30)
    assert found.delivery_id == lost.delivery_id
    # The first holder has no say any more.
    await store.deliveries.record("dead", [DeliveryResult(lost.delivery_id, False, None, "refused", 400)])
    await store.deliveries.record("alive", [delivered(found)])
    (listed,) = (await store.deliveries.list(batch.batch_id, after=None, limit=10)).data
    assert (listed.state, listed.attempts, listed.last_status, listed.last_error) == (
        "delivered",
        1,
        200,
        None,
    )


async def test_a_prolonged_lease_is_its_holders_alone(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 4, callback=BOTH)
    await store.outcomes.flush(outcomes(batch, [1, 2, 3]))
    held = await store.deliveries.claim("alive", 10, 30)
    names = [(one.batch_id, one.delivery_id) for one in held]
    ids = [one.delivery_id for one in held]
    await expire_leases(postgres)
    # As long as nobody took it, a lease that is over can still be prolonged; then it is due for nobody.
    assert await store.deliveries.renew("alive", names[:2], 30) == set(ids[:2])
    (taken,) = await store.deliveries.claim("other", 10, 30)
    assert taken.delivery_id == ids[2]
    assert await store.deliveries.renew("alive", names, 30) == set(ids[:2])
    # What is recorded is held no more: a renewal that comes late does not put off its next try.
    again = datetime.now(UTC) + timedelta(seconds=1)
    await store.deliveries.record("alive", [delivered(held[0]), DeliveryResult(ids[1], False, again, None, 503)])
    assert await store.deliveries.renew("alive", names, 3_000) == set()
    due_s = await store.deliveries.next_due_s()
    assert due_s is not None
    assert due_s <= 1


async def test_a_renewal_waits_for_nobody(store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection) -> None:
    batch = await make_batch(store, tenant, 3, callback=BOTH)
    await store.outcomes.flush(outcomes(batch, [1, 2]))
    one, other = await store.deliveries.claim("me", 10, 30)
    async with postgres.transaction():
        await postgres.execute("UPDATE deliveries SET reason = '' WHERE delivery_id = $1", one.delivery_id)
        async with asyncio.timeout(5):
            names = [(each.batch_id, each.delivery_id) for each in (one, other)]
            assert await store.deliveries.renew("me", names, 30) == {other.delivery_id}


async def test_a_try_is_recorded_as_delivered_waiting_or_dead(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 4, callback=BOTH)
    await store.outcomes.flush(outcomes(batch, [1, 2, 3]))
    good, again, dead = await store.deliveries.claim("me", 10, 30)
    later = datetime.now(UTC) + timedelta(hours=1)
    await store.deliveries.record(
        "me",
        [
            delivered(good),
            DeliveryResult(again.delivery_id, False, later, None, 503),
            DeliveryResult(dead.delivery_id, False, None, "gone \0 for good", 410),
        ],
    )
    listed = {one.delivery_id: one for one in (await store.deliveries.list(batch.batch_id, after=None, limit=10)).data}
    assert [listed[one.delivery_id].state for one in (good, again, dead)] == ["delivered", "waiting", "dead"]
    assert [listed[one.delivery_id].finished_at is None for one in (good, again, dead)] == [False, True, False]
    assert listed[dead.delivery_id].last_error == "gone \ufffd for good"
    due_s = await store.deliveries.next_due_s()
    assert due_s is not None
    assert 3_500 < due_s <= 3_600
    assert await store.deliveries.claim("me", 10, 30) == ()
    await postgres.execute("UPDATE deliveries SET due_at = now() WHERE due_at IS NOT NULL")
    (retried,) = await store.deliveries.claim("me", 10, 30)
    assert (retried.delivery_id, retried.attempts) == (again.delivery_id, 1)


async def test_the_next_due_time_is_known(store: PostgresStore, tenant: Tenant) -> None:
    assert await store.deliveries.next_due_s() is None
    batch = await make_batch(store, tenant, 2, callback=BOTH)
    await store.outcomes.flush([outcome(batch, 1)])
    assert await store.deliveries.next_due_s() == 0
    await store.deliveries.claim("me", 1, 30)
    due_s = await store.deliveries.next_due_s()
    assert due_s is not None
    assert 25 < due_s <= 30


async def test_a_receiver_with_a_backlog_leaves_room_for_the_others(store: PostgresStore, tenant: Tenant) -> None:
    crowd = await make_batch(store, tenant, 200, callback=at("crowd.example"))
    await store.outcomes.flush(outcomes(crowd, range(1, 201)))
    for host in ("small.example", "tiny.example"):
        batch = await make_batch(store, tenant, 3, callback=at(host))
        await store.outcomes.flush([outcome(batch, 1)])
    claimed = await store.deliveries.claim("me", 30, 30)
    hosts = Counter(one.url for one in claimed)
    assert hosts == {
        "https://crowd.example/hook": 10,
        "https://small.example/hook": 1,
        "https://tiny.example/hook": 1,
    }
    # Alone it may have everything; when it is busy it is left out.
    assert await store.deliveries.claim("me", 30, 30, except_receivers=["crowd.example:443"]) == ()
    assert len(await store.deliveries.claim("me", 30, 30)) == 30


async def test_claims_go_round_all_receivers(
    store: PostgresStore, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_store, "_RECEIVERS", 3)
    for n in range(10):
        batch = await make_batch(store, tenant, 9, callback=at(f"h{n}.example"))
        await store.outcomes.flush(outcomes(batch, [1, 2, 3]))
    seen: Counter[str] = Counter()
    for _ in range(5):
        seen.update(one.url for one in await store.deliveries.claim("me", 2, 30))
    assert seen == {f"https://h{n}.example/hook": 1 for n in range(10)}
    while claimed := await store.deliveries.claim("me", 4, 30):
        seen.update(one.url for one in claimed)
    assert seen == {f"https://h{n}.example/hook": 3 for n in range(10)}
    assert await store.deliveries.claim("me", 4, 30) == ()


async def test_deliveries_are_listed_in_pages(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 5, callback=BOTH)
    await store.outcomes.flush(outcomes(batch, range(1, 6)))
    first = await store.deliveries.list(batch.batch_id, after=None, limit=4)
    assert first.next_after == str(first.data[-1].delivery_id)
    rest = await store.deliveries.list(batch.batch_id, after=first.data[-1].delivery_id, limit=4)
    assert (len(first.data), len(rest.data), rest.next_after) == (4, 2, None)
