"""explain over HTTP: who binds, in the words of those who set it up; and what a create answers about its deadline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.domain.status import ItemStatus
from tests.api.world import ApiWorld, item


async def explained(world: ApiWorld, path: str) -> Any:
    answer = await world.client.get(f"{world.batches}/{path}/explain")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def limited(world: ApiWorld, **capacity: int) -> None:
    body = {"capacity": [{"period": "MINUTE", **capacity}]}
    answer = await world.admin.put(f"{world.at('ai-connection')}/{world.connection}", json=body)
    assert answer.status_code == 200, answer.text


async def item_ids(world: ApiWorld, batch_id: str) -> list[str]:
    answer = await world.client.get(f"{world.batches}/{batch_id}")
    return [each["itemId"] for each in answer.json()["items"]]


def later(at: str, than: datetime) -> float:
    return (datetime.fromisoformat(at) - than).total_seconds()


async def test_an_item_behind_a_limit_of_its_connection(world: ApiWorld) -> None:
    await limited(world, requests=60)
    began = datetime.now(UTC)
    batch = await world.create(count=121)
    ids = await item_ids(world, batch["batchId"])
    told = await explained(world, f"{batch['batchId']}/{ids[-1]}")
    hold = told["bindingLimit"]
    assert (hold["scope"], hold["name"], hold["period"]) == ("connection", "sim", "MINUTE")
    assert (hold["dimension"], hold["limit"]) == ("requests", 60)
    assert (told["state"], told["itemsAhead"]) == ("waiting", 120)
    assert [limit["scope"] for limit in told["limits"]] == ["connection"], "its key has none"
    assert 110 < later(told["earliestStart"], began) < 130
    assert "60 requests per minute" in told["message"]


async def test_a_batch_tells_what_binds_each_of_its_resources(world: ApiWorld) -> None:
    await limited(world, requests=600)
    await world.add_resource("slow", capacity=[{"period": "MINUTE", "tokens": 100}])
    items = [item(number) for number in range(1, 31)] + [item(number, resourceId="slow") for number in range(31, 61)]
    batch = await world.create(items=items)
    told = await explained(world, batch["batchId"])
    assert told["bindingLimit"]["scope"] == "resource"
    assert told["bindingLimit"]["name"] == "slow"
    assert told["bindingLimit"]["dimension"] == "tokens"
    by_name = {each["resource"]: each for each in told["resources"]}
    assert by_name["slow"]["waiting"] == by_name["r"]["waiting"] == 30
    assert told["expectedEnd"] == max(each["expectedEnd"] for each in told["resources"])
    assert told["meetsDeadline"] is None


@pytest.mark.parametrize(("scope", "body"), [("batch", {}), ("api-key", {"key": True})])
async def test_limits_of_the_batch_and_of_its_key_are_named(world: ApiWorld, scope: str, body: dict[str, Any]) -> None:
    capacity = [{"period": "HOUR", "requests": 2}]
    if body:
        await world.admin.put(f"{world.at('api-key')}/{world.key_id}", json={"capacity": capacity})
    batch = await world.create(count=5, **({} if body else {"capacity": capacity}))
    told = await explained(world, batch["batchId"])
    assert (told["bindingLimit"]["scope"], told["bindingLimit"]["period"]) == (scope, "HOUR")
    assert told["bindingLimit"]["name"] == ("dev" if body else None)
    assert f"per hour of {'API key dev' if body else 'the batch'} binds" in told["message"]


async def test_a_paused_batch_and_a_finished_item(world: ApiWorld) -> None:
    batch = await world.create(count=3)
    await world.client.post(f"{world.batches}/{batch['batchId']}/pause")
    told = await explained(world, batch["batchId"])
    assert told["bindingLimit"]["dimension"] == "batch-paused"
    assert told["earliestStart"] is None
    await world.finish(batch["batchId"], [1], ItemStatus.COMPLETED)
    ids = await item_ids(world, batch["batchId"])
    told = await explained(world, f"{batch['batchId']}/{ids[0]}")
    assert (told["state"], told["bindingLimit"]) == ("finished", None)
    assert told["expectedEnd"] is not None


async def test_what_does_not_exist_is_not_explained(world: ApiWorld) -> None:
    batch = await world.create(count=1)
    unknown = "00000000-0000-4000-8000-000000000000"
    answer = await world.client.get(f"{world.batches}/{unknown}/explain")
    assert answer.json()["errorCode"] == "COMPLETION_BATCH_NOT_FOUND"
    answer = await world.client.get(f"{world.batches}/{batch['batchId']}/{unknown}/explain")
    assert answer.json()["errorCode"] == "COMPLETION_BATCH_ITEM_NOT_FOUND"


async def test_a_create_answers_when_it_ends_and_whether_that_is_in_time(world: ApiWorld) -> None:
    await limited(world, requests=60)
    began = datetime.now(UTC)
    deadline = (began + timedelta(seconds=90)).isoformat()
    batch = await world.create(count=30, deadline=deadline)
    assert 20 < later(batch["estimatedCompletionAt"], began) < 40
    assert batch["feasibility"]["meetsDeadline"] is True
    assert batch["feasibility"]["warning"] is None
    late = await world.create(count=200, deadline=deadline)
    assert late["feasibility"]["meetsDeadline"] is False
    assert late["feasibility"]["bindingLimit"]["name"] == "sim"
    assert "deadline cannot be met" in late["feasibility"]["warning"]
    assert "60 requests per minute" in late["feasibility"]["warning"]
    read = (await world.client.get(f"{world.batches}/{late['batchId']}?includesItems=false")).json()
    assert read["feasibility"]["meetsDeadline"] is False
    listed = (await world.client.get(world.batches)).json()["data"]
    assert all("feasibility" not in each for each in listed)


async def test_a_connection_that_is_shut_is_the_batchs_message(world: ApiWorld) -> None:
    batch = await world.create(count=2)
    shard, budget = await world.shard(), f"connection-{world.connection}"
    await world.core.engine.pause_budget(shard, budget, 3_600_000, "You exceeded your current quota.")
    read = (await world.client.get(f"{world.batches}/{batch['batchId']}?includesItems=false")).json()
    assert read["errorMessage"] == "Waiting. Connection sim is paused: You exceeded your current quota."
    assert read["status"] == "PENDING"
    told = await explained(world, batch["batchId"])
    assert told["bindingLimit"]["reason"] == "You exceeded your current quota."
