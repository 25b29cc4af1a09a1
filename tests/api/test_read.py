"""Reading, listing, cancelling and pausing batches."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from scheduler.domain.status import ItemStatus
from tests.api.world import ApiWorld, item


def adds_up(batch: dict[str, Any]) -> bool:
    parts = ("pending", "running", "completed", "failed", "cancelled")
    return sum(int(batch[part]) for part in parts) == int(batch["totalItems"])


async def test_a_batch_shows_its_items_with_their_outcomes(world: ApiWorld) -> None:
    created = await world.create(5)
    path = f"{world.batches}/{created['batchId']}"
    await world.finish(created["batchId"], [2])
    await world.finish(created["batchId"], [4], ItemStatus.FAILED)
    batch = (await world.client.get(path)).json()
    assert [each["status"] for each in batch["items"]] == ["PENDING", "COMPLETED", "PENDING", "FAILED", "PENDING"]
    assert (batch["completed"], batch["failed"], batch["pending"]) == (1, 1, 3)
    assert adds_up(batch)
    assert batch["completedPercentage"] == 40
    assert batch["estimatedCompletionAt"] is not None
    assert batch["createdByApiKey"] == {"apiKeyId": world.key_id, "name": "dev"}
    assert batch["createdByUser"] is None
    done, failed = batch["items"][1], batch["items"][3]
    assert done["response"] == {"data": {"id": "answer-2", "text": "a\u2028b"}, "headers": {"x-request-id": "q"}}
    assert (done["promptTokens"], done["outputTokens"], done["totalTokens"]) == (7, 3, 10)
    assert done["servedBy"]["model"] == "m"
    assert failed["response"] is None
    assert (failed["errorCode"], failed["errorMessage"]) == ("PROVIDER_ERROR", "It said no.")
    one = (await world.client.get(f"{path}/{done['itemId']}")).json()
    assert one == done


async def test_users_and_items_can_be_left_out(world: ApiWorld) -> None:
    created = await world.create(2)
    path = f"{world.batches}/{created['batchId']}"
    batch = (await world.client.get(path, params={"includesItems": "false", "includesUsers": "false"})).json()
    assert "items" not in batch
    assert "createdByApiKey" not in batch


async def test_items_come_in_pages(world: ApiWorld) -> None:
    created = await world.create(5)
    path = f"{world.batches}/{created['batchId']}"
    seen: list[str] = []
    params: dict[str, Any] = {"itemsLimit": 2}
    while True:
        page = (await world.client.get(path, params=params)).json()
        seen += [each["customId"] for each in page["items"]]
        if page["nextItemsAfter"] is None:
            break
        params["itemsAfter"] = page["nextItemsAfter"]
    assert seen == ["c1", "c2", "c3", "c4", "c5"]


async def test_a_leased_item_shows_as_running(world: ApiWorld) -> None:
    created = await world.create(3)
    claimed = await world.core.engine.claim(
        await world.shard(), slots=1, open_slots=1, holder="h", lease_ms=5_000, crowded=frozenset()
    )
    assert len(claimed.leases) == 1
    path = f"{world.batches}/{created['batchId']}"
    batch = (await world.client.get(path)).json()
    assert (batch["running"], batch["pending"]) == (1, 2)
    assert [each["status"] for each in batch["items"]] == ["RUNNING", "PENDING", "PENDING"]
    listed = (await world.client.get(world.batches)).json()["data"][0]
    assert (listed["running"], listed["pending"]) == (1, 2)
    await world.finish(created["batchId"], [1])
    batch = (await world.client.get(path)).json()
    assert batch["items"][0]["status"] == "COMPLETED"
    assert adds_up(batch)


async def test_batches_are_listed_newest_first_in_pages(world: ApiWorld) -> None:
    made = [(await world.create(1))["batchId"] for _ in range(3)]
    first = (await world.client.get(world.batches, params={"limit": 2})).json()
    assert [each["batchId"] for each in first["data"]] == made[:0:-1]
    assert first["hasMore"] is True
    rest = (await world.client.get(world.batches, params={"after": first["nextAfter"]})).json()
    assert [each["batchId"] for each in rest["data"]] == made[:1]
    assert (rest["hasMore"], rest["nextAfter"]) == (False, None)
    await world.finish(made[0], [1])
    ended = (await world.client.get(world.batches, params={"status": "COMPLETED"})).json()
    assert [each["batchId"] for each in ended["data"]] == made[:1]
    for bad in ({"limit": 0}, {"limit": 101}, {"after": "x"}, {"status": "DONE"}):
        answer = await world.client.get(world.batches, params=bad)
        assert (answer.status_code, answer.json()["errorCode"]) == (422, "VALIDATION_ERROR")


async def test_cancel_leaves_nothing_waiting(world: ApiWorld) -> None:
    created = await world.create(4)
    engine, shard = world.core.engine, await world.shard()
    ask: dict[str, Any] = {"slots": 1, "open_slots": 1, "holder": "h", "lease_ms": 5_000, "crowded": frozenset()}
    assert len((await engine.claim(shard, **ask)).leases) == 1
    path = f"{world.batches}/{created['batchId']}"
    answer = await world.client.post(f"{path}/cancel")
    assert answer.status_code == 201
    batch = answer.json()
    assert batch["status"] == "CANCELLED"
    assert (batch["running"], batch["cancelled"], batch["pending"]) == (1, 3, 0)
    assert not (await engine.claim(shard, **ask)).leases
    items = (await world.client.get(path)).json()["items"]
    assert [each["status"] for each in items] == ["RUNNING", "CANCELLED", "CANCELLED", "CANCELLED"]
    assert (await world.client.post(f"{path}/cancel")).status_code == 201
    pausing = await world.client.post(f"{path}/pause")
    assert (pausing.status_code, pausing.json()["errorCode"]) == (409, "INVALID_STATE")


async def test_cancel_changes_nothing_of_a_final_batch(world: ApiWorld) -> None:
    created = await world.create(1)
    await world.finish(created["batchId"], [1])
    answer = await world.client.post(f"{world.batches}/{created['batchId']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (201, "COMPLETED")


async def test_a_paused_batch_is_not_claimed_until_it_resumes(world: ApiWorld) -> None:
    created = await world.create(2)
    engine, shard = world.core.engine, await world.shard()
    ask: dict[str, Any] = {"slots": 5, "open_slots": 5, "holder": "h", "lease_ms": 5_000, "crowded": frozenset()}
    path = f"{world.batches}/{created['batchId']}"
    paused = await world.client.post(f"{path}/pause")
    assert (paused.status_code, paused.json()["paused"]) == (200, True)
    assert not (await engine.claim(shard, **ask)).leases
    resumed = await world.client.post(f"{path}/resume")
    assert (resumed.status_code, resumed.json()["paused"]) == (200, False)
    assert len((await engine.claim(shard, **ask)).leases) == 2


async def test_what_does_not_exist_is_named(world: ApiWorld) -> None:
    created = await world.create(1)
    nobody = UUID(int=5)
    for path, code in (
        (f"{world.batches}/{nobody}", "COMPLETION_BATCH_NOT_FOUND"),
        (f"{world.batches}/{nobody}/{nobody}", "COMPLETION_BATCH_NOT_FOUND"),
        (f"{world.batches}/{nobody}/events", "COMPLETION_BATCH_NOT_FOUND"),
        (f"{world.batches}/{created['batchId']}/{nobody}", "COMPLETION_BATCH_ITEM_NOT_FOUND"),
    ):
        answer = await world.client.get(path)
        assert (answer.status_code, answer.json()["errorCode"]) == (404, code)
    for path in (f"{world.batches}/x", f"{world.batches}/{nobody}/x", f"{world.batches}/x/events"):
        answer = await world.client.get(path)
        assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_ID")
    for verb in ("cancel", "pause", "resume"):
        assert (await world.client.post(f"{world.batches}/{nobody}/{verb}")).status_code == 404


async def test_finished_items_come_as_lines(world: ApiWorld) -> None:
    created = await world.create(3)
    await world.finish(created["batchId"], [3, 1])
    await world.finish(created["batchId"], [2], ItemStatus.FAILED)
    path = f"{world.batches}/{created['batchId']}/results"
    lines = [json.loads(line) for line in (await world.client.get(path)).text.split("\n") if line]
    assert [each["customId"] for each in lines] == ["c3", "c1", "c2"]
    failed = (await world.client.get(path, params={"status": "FAILED"})).text
    assert json.loads(failed)["customId"] == "c2"
    after = (await world.client.get(path, params={"after": 3, "follow": "true"})).text
    assert json.loads(after)["customId"] == "c2"


async def test_more_items_than_a_page_are_streamed(world: ApiWorld) -> None:
    created = await world.create(450)
    batch = (await world.client.get(f"{world.batches}/{created['batchId']}")).json()
    assert [each["customId"] for each in batch["items"]] == [f"c{number}" for number in range(1, 451)]


async def test_ids_in_one_item_are_its_own(world: ApiWorld) -> None:
    body = {"type": "ASYNC", "items": [item(1, metadata={"k": "v"})]}
    created = (await world.client.post(world.batches, json=body, params={"includesItems": "true"})).json()
    [only] = created["items"]
    assert (only["batchId"], only["resourceId"]) == (created["batchId"], world.resource)
    assert only["metadata"] == {"k": "v"}
