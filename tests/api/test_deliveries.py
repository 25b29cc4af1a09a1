"""Callbacks listed and sent again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
from standardwebhooks.webhooks import Webhook

from scheduler.ports.deliveries import DeliveryResult
from tests.api.world import ApiWorld, item
from workers.parcels import Parcels
from workers.secretkeeper import Secretkeeper

SECRET = "the-secret-of-the-receiver"
NEW_SECRET = "the-secret-that-follows-it"


async def batch_with_callbacks(world: ApiWorld) -> str:
    """Three items that ended and one batch that did: four deliveries."""
    options = {
        "url": "http://127.0.0.1:9/hook",
        "events": ["all"],
        "secret": SECRET,
        "headers": {"x-mine": "a-header-value"},
    }
    batch = await world.create(3, type="CALLBACK", callbackOptions=options)
    await world.finish(batch["batchId"], [1, 2, 3])
    return str(batch["batchId"])


async def test_deliveries_are_listed_with_their_state_and_without_secrets(world: ApiWorld) -> None:
    path = f"{world.batches}/{await batch_with_callbacks(world)}/deliveries"
    store = world.core.store.deliveries
    good, again, dead, *_ = await store.claim("me", 10, 30)
    later = datetime.now(UTC) + timedelta(hours=1)
    await store.record(
        "me",
        [
            DeliveryResult(good.delivery_id, True, None, None, 200),
            DeliveryResult(again.delivery_id, False, later, None, 503, "The receiver answered 503."),
            DeliveryResult(dead.delivery_id, False, None, "The receiver answered 410.", 410),
        ],
    )
    answer = await world.client.get(path)
    assert SECRET not in answer.text
    assert "a-header-value" not in answer.text
    body = answer.json()
    assert body["hasMore"] is False
    listed = {each["deliveryId"]: each for each in body["data"]}
    assert len(listed) == 4
    shown = [listed[str(each.delivery_id)] for each in (good, again, dead)]
    assert [each["state"] for each in shown] == ["DELIVERED", "WAITING", "DEAD"]
    assert [each["attempts"] for each in shown] == [1, 1, 1]
    assert [each["lastStatus"] for each in shown] == [200, 503, 410]
    assert [each["lastError"] for each in shown] == [
        None,
        "The receiver answered 503.",
        "The receiver answered 410.",
    ]
    assert [each["nextTryAt"] is None for each in shown] == [True, False, True]
    assert [each["event"] for each in body["data"]].count("BATCH_UPDATE") == 1
    first = (await world.client.get(path, params={"limit": 3})).json()
    assert first["hasMore"] is True
    rest = (await world.client.get(path, params={"limit": 3, "after": first["nextAfter"]})).json()
    assert [each["deliveryId"] for each in (*first["data"], *rest["data"])] == list(listed)


async def test_a_replay_is_due_now_and_counts_on(world: ApiWorld) -> None:
    batch_id = await batch_with_callbacks(world)
    path = f"{world.batches}/{batch_id}/deliveries"
    store = world.core.store.deliveries
    claimed = await store.claim("me", 10, 30)
    busy = await world.client.post(f"{path}/{claimed[0].delivery_id}/replay")
    assert (busy.status_code, busy.json()["state"]) == (202, "WAITING")
    assert await store.claim("me", 10, 30) == ()
    await store.record(
        "me",
        [
            DeliveryResult(claimed[0].delivery_id, True, None, None, 200),
            DeliveryResult(claimed[1].delivery_id, False, None, "The receiver answered 410.", 410),
        ],
    )
    for one in claimed[:2]:
        answer = await world.client.post(f"{path}/{one.delivery_id}/replay")
        assert answer.status_code == 202
        assert (answer.json()["state"], answer.json()["attempts"]) == ("WAITING", 1)
    due = await store.claim("me", 10, 30)
    assert {one.delivery_id for one in due} == {one.delivery_id for one in claimed[:2]}
    assert [one.attempts for one in due] == [1, 1]
    assert all(one.tried_since > one.created_at for one in due)
    assert all(one.payload in [each.payload for each in claimed[:2]] for one in due)


async def test_what_is_not_there_is_not_found(world: ApiWorld) -> None:
    batch_id = await batch_with_callbacks(world)
    unknown = await world.client.post(f"{world.batches}/{batch_id}/deliveries/{uuid4()}/replay")
    assert (unknown.status_code, unknown.json()["errorCode"]) == (404, "NOT_FOUND")
    other = await world.client.get(f"{world.batches}/{uuid4()}/deliveries")
    assert (other.status_code, other.json()["errorCode"]) == (404, "COMPLETION_BATCH_NOT_FOUND")
    bad = await world.client.post(f"{world.batches}/{batch_id}/deliveries/7/replay")
    assert (bad.status_code, bad.json()["errorCode"]) == (400, "INVALID_ID")


async def test_secrets_lie_sealed_and_both_sign_while_they_change(world: ApiWorld) -> None:
    options = {
        "url": "http://127.0.0.1:9/hook",
        "events": ["all"],
        "secret": NEW_SECRET,
        "previousSecret": SECRET,
    }
    batch = await world.create(1, type="CALLBACK", callbackOptions=options)
    assert set(batch["callbackOptions"]) == {"url", "headers", "events"}
    connection = await asyncpg.connect(world.core.settings.database_url)
    stored = await connection.fetchval("SELECT callback::text FROM batches")
    await connection.close()
    assert SECRET not in stored
    assert NEW_SECRET not in stored
    await world.finish(batch["batchId"], [1])
    first, *_ = await world.core.store.deliveries.claim("me", 10, 30)
    parcel = Parcels((), world.core.vault.open).of(first, int(datetime.now(UTC).timestamp()))
    for secret in (SECRET, NEW_SECRET):
        Webhook(base64.b64encode(secret.encode()).decode()).verify(parcel.body, parcel.headers)
    digest = hmac.new(NEW_SECRET.encode(), parcel.body, hashlib.sha256).hexdigest()
    assert parcel.headers["X-Signature-256"] == f"sha256={digest}"


async def test_an_old_secret_alone_is_refused(world: ApiWorld) -> None:
    options = {"url": "http://127.0.0.1:9/hook", "events": ["all"], "previousSecret": SECRET}
    body = {"type": "CALLBACK", "items": [item(1)], "callbackOptions": options}
    answer = await world.client.post(world.batches, json=body)
    assert answer.status_code == 422
    assert "previousSecret" in answer.text
    assert SECRET not in answer.text


async def test_what_lies_in_the_clear_is_sealed_and_still_signs(world: ApiWorld) -> None:
    batch = await batch_with_callbacks(world)
    plain = {"url": "http://127.0.0.1:9/hook", "headers": {}, "events": ["item_update"], "secret": SECRET}
    connection = await asyncpg.connect(world.core.settings.database_url)
    await connection.execute("UPDATE batches SET callback = $2 WHERE batch_id = $1", UUID(batch), json.dumps(plain))
    store = world.core.store

    async def signs() -> bool:
        (delivery,) = await store.deliveries.claim("me", 1, 30)
        parcel = Parcels((), world.core.vault.open).of(delivery, 1)
        digest = hmac.new(SECRET.encode(), parcel.body, hashlib.sha256).hexdigest()
        return parcel.headers["X-Signature-256"] == f"sha256={digest}"

    assert await signs()
    keeper = Secretkeeper(store.callback_secrets, store.shards, world.core.vault)
    assert (await keeper.run_once()).sealed == 1
    assert (await keeper.run_once()).sealed == 0
    stored = await connection.fetchval("SELECT callback::text FROM batches")
    await connection.close()
    assert SECRET not in stored
    assert json.loads(stored)["url"] == plain["url"]
    assert await signs()
