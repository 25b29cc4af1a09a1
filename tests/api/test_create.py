"""Creating batches: what is stored, what is refused, and in which order."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.ids import ItemIds
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.services.batches.views import recorded_item_view
from scheduler.services.callers.callback_guard import host_of
from tests.api.world import ApiWorld, item
from tests.inner_addresses import FORMS


async def test_a_batch_answers_with_its_counts_and_without_items(world: ApiWorld) -> None:
    batch = await world.create(3, metadata={"a": [1, 2.50]}, priority="high", maxInFlight=4)
    assert batch["status"] == "PENDING"
    assert batch["totalItems"] == batch["pending"] == 3
    assert "items" not in batch
    assert batch["priority"] == "high"
    assert batch["maxInFlight"] == 4
    assert batch["completedPercentage"] == 0
    assert batch["createdByApiKeyId"] == world.key_id
    assert batch["totalEstimatedPromptTokens"] > 0
    flows = await world.core.store.batches.flows(UUID(batch["batchId"]))
    assert [(flow.first, flow.last) for flow in flows] == [(1, 3)]


async def test_bodies_keep_every_byte(world: ApiWorld) -> None:
    request = (
        b'{ "messages" :[{"role":"user","content":"caf\\u00e9 \\ud83d"}], "x":1.0e2, "y" : 12345678901234567890123 }'
    )
    body = b'{"type":"ASYNC","items":[{"resourceId":"r","request":%b,"metadata":{"z": 1.50}}]}' % request
    created = await world.client.post(world.batches, content=body, params={"includesItems": "true"})
    assert created.status_code == 201
    assert request in created.content
    assert b'{"z": 1.50}' in created.content


async def test_the_answer_to_a_create_shows_nothing_live(world: ApiWorld) -> None:
    asked: dict[str, Any] = {"params": {"includesItems": "true"}, "headers": {"Idempotency-Key": "shown"}}
    body = {"type": "ASYNC", "items": [item(1), item(2)]}
    first = (await world.client.post(world.batches, json=body, **asked)).json()
    shard = await world.shard()
    claimed = await world.core.engine.claim(
        shard, slots=1, open_slots=1, holder="h", lease_ms=5_000, crowded=frozenset()
    )
    assert len(claimed.leases) == 1
    again = (await world.client.post(world.batches, json=body, **asked)).json()
    for answer in (first, again):
        assert (answer["pending"], answer["running"]) == (2, 0)
        assert [(each["status"], each["startedAt"]) for each in answer["items"]] == [("PENDING", None)] * 2
    await world.finish(first["batchId"], [1])
    later = (await world.client.post(world.batches, json=body, **asked)).json()
    assert (later["pending"], later["completed"]) == (1, 1)
    assert [each["status"] for each in later["items"]] == ["COMPLETED", "PENDING"]


async def test_an_outcome_that_comes_while_a_create_answers_is_not_shown(world: ApiWorld) -> None:
    created = await world.create(2)
    batch_id = UUID(created["batchId"])
    read = await world.core.store.batches.get(UUID(world.environment), batch_id)
    assert read is not None
    await world.finish(created["batchId"], [1])
    items = await world.core.store.items.page(batch_id, after_seq=0, limit=9)
    assert [each.status for each in items] == [ItemStatus.COMPLETED, ItemStatus.PENDING]
    done = recorded_item_view(items[0], ItemIds(batch_id), read)
    assert (done.status, done.response, done.started_at, done.completed_at) == ("PENDING", None, None, None)
    now = await world.core.store.batches.get(UUID(world.environment), batch_id)
    assert now is not None
    assert recorded_item_view(items[0], ItemIds(batch_id), now).status == "COMPLETED"
    cancelled = dataclasses.replace(read, status=BatchStatus.CANCELLED)
    assert recorded_item_view(items[1], ItemIds(batch_id), cancelled).status == "CANCELLED"


async def test_a_large_batch_opens_with_its_first_window(world: ApiWorld) -> None:
    batch = await world.create(900)
    depths = await world.core.engine.queue_depths(await world.shard())
    assert sum(depths.queues.values()) == 1
    assert batch["totalItems"] == 900


MESSAGES = {"messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"items": []}, "items"),
        ({"items": None}, "items"),
        ({"items": {}}, "items"),
        ({"type": "FAST"}, "type"),
        ({"type": None}, "type"),
        ({"extra": 1}, "extra"),
        ({"deadline": "9999-12-31T23:59:59-14:00"}, "deadline"),
        ({"maxInFlight": 2**31}, "maxInFlight"),
        ({"capacity": [{"period": "FORTNIGHT", "requests": 1}]}, "capacity[0].period"),
        ({"capacity": [{"period": "minute", "requests": 0}]}, "capacity[0].requests"),
        ({"capacity": [{"period": "minute", "tokens": 1.5}]}, "capacity[0].tokens"),
        ({"capacity": [{"period": "MINUTE", "requests": 5, "dimension": "source-ip"}]}, "capacity[0].dimension"),
        ({"maxInFlight": 0}, "maxInFlight"),
        ({"priority": "urgent"}, "priority"),
        ({"metadata": []}, "metadata"),
        ({"deadline": "2030-01-01T00:00:00"}, "deadline"),
        ({"deadline": "2001-01-01T00:00:00Z"}, "deadline"),
        ({"deadline": "soon"}, "deadline"),
        ({"type": "CALLBACK"}, "callbackOptions"),
        ({"callbackOptions": {"url": "https://example.com", "events": ["all"]}}, "callbackOptions"),
    ],
)
async def test_a_wrong_field_is_named(world: ApiWorld, change: dict[str, Any], field: str) -> None:
    body = {"type": "ASYNC", "items": [item(1)], **change}
    answer = await world.client.post(world.batches, json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()
    assert error["errorCode"] == "VALIDATION_ERROR"
    assert field in [each["field"] for each in error["details"]["errors"]]
    assert (await world.client.get(world.batches)).json()["data"] == []


async def test_all_wrong_items_are_told_at_once(world: ApiWorld) -> None:
    items: list[Any] = [
        item(1),
        item(2, request={"messages": []}),
        item(3, unknown=1),
        {"resourceId": "r"},
        item(5, request={"messages": [{"content": "no role"}]}),
        item(6, endpoint="/v1/embeddings"),
        item(7, request=[]),
        item(8, endpoint="/v1/images"),
        item(9, customId="a\0b"),
        "nothing",
        item(11, endpoint="/v1/completions", request={"prompt": "fine"}),
    ]
    answer = await world.client.post(world.batches, json={"type": "SYNC", "items": items})
    assert answer.status_code == 422
    errors = answer.json()["details"]["errors"]
    assert [(each["index"], each["field"]) for each in errors] == [
        (1, "request.messages"),
        (2, "unknown"),
        (3, "request"),
        (4, "request.messages[0].role"),
        (5, "request.input"),
        (6, "request"),
        (7, "endpoint"),
        (8, "customId"),
        (9, ""),
    ]


async def test_only_the_first_hundred_problems_are_listed(world: ApiWorld) -> None:
    items = [item(number, request={}) for number in range(150)]
    details = (await world.client.post(world.batches, json={"type": "ASYNC", "items": items})).json()["details"]
    assert len(details["errors"]) == 100
    assert details["errorCount"] == 150


@pytest.mark.parametrize("body", [b"", b"{", b'{"type": "\xff"}', b"[1,", b'{"a":01}', b"\xff\xfe", b"[" * 100_000])
async def test_what_is_no_json_is_malformed(world: ApiWorld, body: bytes) -> None:
    answer = await world.client.post(world.batches, content=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "MALFORMED_JSON")


async def test_what_is_no_object_is_invalid(world: ApiWorld) -> None:
    answer = await world.client.post(world.batches, content=b"[1]")
    assert (answer.status_code, answer.json()["errorCode"]) == (422, "VALIDATION_ERROR")


async def test_sizes_are_limited_before_parsing(world: ApiWorld) -> None:
    for body in (b"x" * 2_000_001, json.dumps({"type": "ASYNC", "items": [1] * 1_001}).encode()):
        answer = await world.client.post(world.batches, content=body)
        assert (answer.status_code, answer.json()["errorCode"]) == (413, "TOO_LARGE")


async def test_unknown_resources_come_after_what_is_invalid(world: ApiWorld) -> None:
    unknown = item(1, resourceId="nobody")
    answer = await world.client.post(world.batches, json={"type": "ASYNC", "items": [unknown, item(2, request={})]})
    assert answer.status_code == 422
    answer = await world.client.post(world.batches, json={"type": "ASYNC", "items": [unknown]})
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "AI_RESOURCE_NOT_FOUND")
    assert answer.json()["details"]["resources"] == ["nobody"]
    answer = await world.client.post(world.batches, json={"type": "ASYNC", "items": [item(1, resourceId="rr")]})
    assert answer.json()["errorMessage"] == "There is no resource rr. Did you mean r?"


async def test_a_resource_may_be_named_by_its_id(world: ApiWorld) -> None:
    body = {"type": "ASYNC", "items": [item(1, resourceId=world.resource), item(2, resourceId=world.resource.upper())]}
    assert (await world.client.post(world.batches, json=body)).status_code == 201


async def test_an_allow_list_names_what_it_forbids(world: ApiWorld) -> None:
    await world.add_resource("other")
    key = await world.made(world.at("api-key"), {"name": "narrow", "resources": ["other"]})
    headers = {"x-api-key": key["key"]}
    body = {"type": "ASYNC", "items": [item(1), item(2, resourceId="other")]}
    answer = await world.client.post(world.batches, json=body, headers=headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (403, "API_KEY_RESOURCE_NOT_AUTHORIZED")
    assert answer.json()["details"]["resources"] == ["r"]
    body["items"] = [item(1, resourceId="other")]
    assert (await world.client.post(world.batches, json=body, headers=headers)).status_code == 201


@pytest.mark.parametrize("where", ["batch", "resource", "connection", "key"])
async def test_an_item_above_a_whole_budget_is_refused(world: ApiWorld, where: str) -> None:
    capacity = [{"period": "minute", "tokens": 50}]
    body: dict[str, Any] = {"type": "ASYNC", "items": [item(1), item(2, request={**MESSAGES, "max_tokens": 100})]}
    match where:
        case "batch":
            body["capacity"] = capacity
        case "resource":
            path = f"{world.at('ai-resource')}/{world.resource}"
            assert (await world.admin.put(path, json={"capacity": capacity})).status_code == 200
        case "connection":
            path = f"{world.at('ai-connection')}/{world.connection}"
            assert (await world.admin.put(path, json={"capacity": capacity})).status_code == 200
        case _:
            key = await world.made(world.at("api-key"), {"name": "k", "capacity": capacity})
            world.client.headers["x-api-key"] = key["key"]
    answer = await world.client.post(world.batches, json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (422, "ITEM_EXCEEDS_CAPACITY")
    [problem] = answer.json()["details"]["errors"]
    assert problem["index"] == 1


async def test_an_idempotency_key_gives_the_same_batch(world: ApiWorld) -> None:
    headers = {"Idempotency-Key": "once"}
    deadline = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"type": "ASYNC", "items": [item(1)], "deadline": deadline}
    first = await world.client.post(world.batches, json=body, headers=headers)
    again = await world.client.post(world.batches, json=body, headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.json()["batchId"] == again.json()["batchId"]
    other = await world.client.post(world.batches, json={**body, "priority": "low"}, headers=headers)
    assert (other.status_code, other.json()["errorCode"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert len((await world.client.get(world.batches)).json()["data"]) == 1


async def test_a_refused_creation_gives_its_idempotency_key_back(world: ApiWorld) -> None:
    headers = {"Idempotency-Key": "again"}
    refused = await world.client.post(world.batches, json={"type": "ASYNC", "items": []}, headers=headers)
    assert refused.status_code == 422
    good = await world.client.post(world.batches, json={"type": "ASYNC", "items": [item(1)]}, headers=headers)
    assert good.status_code == 201


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("http://127.0.0.1:9000/hook", True),
        ("http://does-not-resolve.invalid/hook", True),
        ("http://10.0.0.1/hook", False),
        ("http://2130706434/hook", False),
        ("http://[::1]/hook", False),
        ("http://169.254.169.254/latest", False),
        ("http://localhost/hook", False),
        ("ftp://example.com/hook", False),
        ("nothing", False),
    ],
)
async def test_callback_targets_are_guarded(world: ApiWorld, url: str, good: bool) -> None:
    options = {"url": url, "events": ["all"], "headers": {"X-A": "b"}, "secret": "whsec_c2VjcmV0"}
    body = {"type": "CALLBACK", "items": [item(1)], "callbackOptions": options}
    answer = await world.client.post(world.batches, json=body)
    assert answer.status_code == (201 if good else 422), answer.text
    if good:
        shown = answer.json()["callbackOptions"]
        assert shown == {"url": url, "events": ["all"], "headers": {"X-A": "b"}}
    else:
        assert answer.json()["details"]["errors"][0]["field"] == "callbackOptions.url"


async def test_null_is_as_good_as_absent(world: ApiWorld) -> None:
    plain = await world.create(1)
    fields = ("capacity", "maxInFlight", "priority", "metadata", "deadline", "callbackOptions")
    nothing = item(1, endpoint=None, metadata=None)
    nulls: dict[str, Any] = dict.fromkeys(fields)
    made = await world.create(items=[nothing | {"customId": None}], **nulls)
    shown = [(await world.client.get(f"{world.batches}/{each['batchId']}")).json() for each in (plain, made)]
    assert [each["items"][0]["endpoint"] for each in shown] == ["/v1/chat/completions"] * 2
    assert [each["items"][0]["customId"] for each in shown] == ["c1", None]
    assert {field: made[field] for field in fields} == {field: plain[field] for field in fields}


async def test_a_callback_to_an_inner_address_is_refused_however_it_is_written(world: ApiWorld) -> None:
    for name, host in FORMS.items():
        if host_of(f"http://{host}/") == "127.0.0.1":
            continue  # these tests allow it by name
        options = {"url": f"http://{host}/hook", "events": ["all"]}
        body = {"type": "CALLBACK", "items": [item(1)], "callbackOptions": options}
        answer = await world.client.post(world.batches, json=body)
        assert answer.status_code == 422, name
        assert [each["field"] for each in answer.json()["details"]["errors"]] == ["callbackOptions.url"], name
    assert (await world.client.get(world.batches)).json()["data"] == []
