"""PATCH of a batch: what it changes, in Postgres and in the engine."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from scheduler.domain.batch import BatchChange
from scheduler.domain.capacity import Capacity, Period
from tests.api.world import ApiWorld


async def changed(world: ApiWorld, batch_id: str, body: Any, status: int = 200) -> Any:
    """The answer of a PATCH."""
    answer = await world.client.patch(f"{world.batches}/{batch_id}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def claimed(world: ApiWorld) -> int:
    """How many entries a claim gets now."""
    shard = await world.shard()
    return len(
        (
            await world.core.engine.claim(
                shard, slots=64, open_slots=64, holder="h", lease_ms=60_000, crowded=frozenset()
            )
        ).leases
    )


async def test_a_capacity_holds_from_the_answer_on_and_lets_go_when_it_is_taken_away(world: ApiWorld) -> None:
    batch_id = (await world.create(20))["batchId"]
    batch = await changed(world, batch_id, {"capacity": [{"period": "minute", "requests": 3}]})
    assert batch["capacity"][0]["requests"] == 3
    assert await claimed(world) == 3
    assert await claimed(world) == 0
    await changed(world, batch_id, {"capacity": [{"period": "MINUTE", "requests": 5}]})
    assert await claimed(world) == 2
    assert (await changed(world, batch_id, {"capacity": None}))["capacity"] == []
    assert await claimed(world) == 15


async def test_a_pause_brings_a_limit_that_was_stored_and_never_told(world: ApiWorld) -> None:
    batch_id = (await world.create(20))["batchId"]
    change = BatchChange(capacity=(Capacity(Period.LIFETIME, 3, None),))
    assert await world.core.store.batches.change(UUID(world.environment), UUID(batch_id), change)  # and died
    for verb in ("pause", "resume"):
        assert (await world.client.post(f"{world.batches}/{batch_id}/{verb}")).status_code == 200
    assert await claimed(world) == 3


async def test_a_body_is_judged_before_its_batch_is_looked_for(world: ApiWorld) -> None:
    unknown = f"{world.batches}/{uuid4()}"
    refused = await world.client.patch(unknown, json={"priority": "urgent"})
    assert (refused.status_code, refused.json()["errorCode"]) == (422, "VALIDATION_ERROR")
    malformed = await world.client.patch(unknown, content=b"{")
    assert (malformed.status_code, malformed.json()["errorCode"]) == (400, "MALFORMED_JSON")
    missing = await world.client.patch(unknown, json={"priority": "low"})
    assert (missing.status_code, missing.json()["errorCode"]) == (404, "COMPLETION_BATCH_NOT_FOUND")


async def test_what_is_absent_stays(world: ApiWorld) -> None:
    batch_id = (await world.create(1))["batchId"]
    await changed(world, batch_id, {"priority": "high", "deadline": "2999-01-01T00:00:00Z"})
    batch = await changed(world, batch_id, {"capacity": [{"period": "HOUR", "tokens": 9999}]})
    assert (batch["priority"], batch["deadline"]) == ("high", "2999-01-01T00:00:00Z")
    assert (await changed(world, batch_id, {"deadline": None}))["deadline"] is None


async def test_a_bad_change_is_refused_whole(world: ApiWorld) -> None:
    batch_id = (await world.create(1))["batchId"]
    for body, field in (
        ({}, "body"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": "low", "capacity": [{"period": "YEAR", "requests": 1}]}, "capacity[0].period"),
        ({"capacity": [{"period": "DAY", "requests": 1, "dimension": "source-ip"}]}, "capacity[0].dimension"),
        ({"priority": "low", "deadline": "2001-01-01T00:00:00Z"}, "deadline"),
        ({"priority": "low", "metadata": {}}, "metadata"),
        ({"priority": "low", "foo": 1}, "foo"),
    ):
        answer = await changed(world, batch_id, body, 422)
        assert [error["field"] for error in answer["details"]["errors"]] == [field]
    batch = (await world.client.get(f"{world.batches}/{batch_id}")).json()
    assert batch["priority"] == "normal"


async def test_a_final_batch_is_not_changed(world: ApiWorld) -> None:
    batch_id = (await world.create(1))["batchId"]
    await world.finish(batch_id, [1])
    assert (await changed(world, batch_id, {"priority": "low"}, 409))["errorCode"] == "INVALID_STATE"
    unknown = "01a20105-85d9-75cd-a9f2-51e458731ab8"
    assert (await changed(world, unknown, {"priority": "low"}, 404))["errorCode"] == "COMPLETION_BATCH_NOT_FOUND"
