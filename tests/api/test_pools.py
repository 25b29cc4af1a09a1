"""Pool definitions over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.api.world import ApiWorld, item


def pool(world: ApiWorld, **changes: Any) -> dict[str, Any]:
    return {"name": "gold", "resources": [str(world.resource)], "minShare": 0.25, "maxShare": 0.5, **changes}


async def test_pools_are_made_read_changed_and_removed(world: ApiWorld) -> None:
    path = world.at("pool-definition")
    assert (await world.admin.get(path)).status_code == 404
    made = await world.made(path, {"pools": [pool(world)]})
    assert made["pools"] == [
        {"name": "gold", "resources": [str(world.resource)], "rank": 1, "minShare": 0.25, "maxShare": 0.5}
    ]
    assert (await world.admin.get(path)).json() == made
    assert (await world.admin.post(path, json={"pools": [pool(world)]})).json()["errorCode"] == "ALREADY_EXISTS"
    changed = (await world.admin.put(path, json=made | {"pools": [pool(world, rank=2)]})).json()
    assert (changed["pools"][0]["rank"], changed["version"]) == (2, 2)
    assert (await world.admin.delete(path)).status_code == 204
    gone = await world.admin.delete(path)
    assert (gone.status_code, gone.json()["errorCode"]) == (404, "POOL_DEFINITION_NOT_FOUND")
    assert (await world.made(path, {"pools": [pool(world)]}))["version"] == 4


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"minShare": 0.6}, "pools[0].minShare"),
        ({"minShare": -0.1}, "pools[0].minShare"),
        ({"maxShare": 0}, "pools[0].maxShare"),
        ({"rank": 0}, "pools[0].rank"),
        ({"resources": []}, "pools[0].resources"),
        ({"name": ""}, "pools[0].name"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_its_field(
    world: ApiWorld, changes: dict[str, Any], field: str
) -> None:
    answer = await world.admin.post(world.at("pool-definition"), json={"pools": [pool(world, **changes)]})
    assert answer.status_code == 422, answer.text
    assert field in answer.text
    assert (await world.admin.get(world.at("pool-definition"))).status_code == 404


async def test_pools_must_not_overlap_or_promise_more_than_there_is(world: ApiWorld) -> None:
    path = world.at("pool-definition")
    twice = [pool(world), pool(world, name="tin")]
    assert "pools[1].resources" in (await world.admin.post(path, json={"pools": twice})).text
    same = [pool(world), pool(world, resources=["other"])]
    assert "pools[1].name" in (await world.admin.post(path, json={"pools": same})).text
    unknown = await world.admin.post(path, json={"pools": [pool(world, resources=["nowhere"])]})
    assert (unknown.status_code, unknown.json()["errorCode"]) == (404, "AI_RESOURCE_NOT_FOUND")
    assert (await world.admin.post(path, json={})).status_code == 422
    assert (await world.admin.post(path, json={"pools": []})).status_code == 422


async def test_a_pool_holds_its_resources_to_its_largest_share(world: ApiWorld) -> None:
    await world.admin.put(
        f"{world.at('ai-connection')}/{world.connection}", json={"capacity": [{"period": "MINUTE", "requests": 60_000}]}
    )
    await world.made(world.at("pool-definition"), {"pools": [pool(world, minShare=0, maxShare=0.0001)]})
    await world.create(20)
    environment = await world.core.store.setup.environment(UUID(str(world.environment)))
    assert environment is not None
    claimed = await world.core.engine.claim(
        environment.shard, slots=50, open_slots=50, holder="w", lease_ms=10_000, crowded=frozenset()
    )
    assert len(claimed.leases) == 6


async def test_an_item_above_the_largest_share_of_its_pool_is_refused(world: ApiWorld) -> None:
    path = f"{world.at('ai-connection')}/{world.connection}"
    assert (await world.admin.put(path, json={"capacity": [{"period": "MINUTE", "tokens": 1_000}]})).status_code == 200
    await world.made(world.at("pool-definition"), {"pools": [pool(world, minShare=0, maxShare=0.1)]})
    request = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 200}
    items = [item(1), item(2, request=request)]
    answer = await world.client.post(world.batches, json={"type": "ASYNC", "items": items})
    assert (answer.status_code, answer.json()["errorCode"]) == (422, "ITEM_EXCEEDS_CAPACITY")
    assert [problem["index"] for problem in answer.json()["details"]["errors"]] == [1]
