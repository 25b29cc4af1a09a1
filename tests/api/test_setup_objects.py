"""Set-up objects over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from scheduler.domain.observation import Observation
from scheduler.domain.work import Limit
from scheduler.services.budgets.limits import model_budget_id
from scheduler.services.budgets.model_limits import FIRST_PLACES
from scheduler.services.setup.catalog import CHECK_S, Catalog
from tests.api.test_change import claimed
from tests.api.world import ApiWorld, item


async def test_secrets_are_sealed_and_masked(world: ApiWorld) -> None:
    path = f"{world.at('ai-connection')}/{world.connection}"
    shown = (await world.admin.get(path)).json()
    assert shown["config"] == {"baseUrl": "http://127.0.0.1:9/v1", "apiKey": "********"}
    [stored] = await world.core.store.setup.connections()
    sealed = stored.secret_config["apiKey"]
    assert b"sk-secret" not in sealed
    assert world.core.vault.open(sealed) == "sk-secret-of-the-provider"
    shown["description"] = "changed"
    kept = (await world.admin.put(path, json=shown)).json()
    assert (kept["description"], kept["version"]) == ("changed", shown["version"] + 1)
    [stored] = await world.core.store.setup.connections()
    assert stored.secret_config["apiKey"] == sealed
    await world.admin.put(path, json={"config": {"baseUrl": "http://127.0.0.1:9/v1", "apiKey": "sk-other"}})
    [stored] = await world.core.store.setup.connections()
    assert world.core.vault.open(stored.secret_config["apiKey"]) == "sk-other"


async def test_a_connection_shows_the_profile_it_has(world: ApiWorld) -> None:
    shown = (await world.admin.get(f"{world.at('ai-connection')}/{world.connection}")).json()
    assert (shown["provider"], shown["profile"]) == ("openai-compatible", "generic")
    for name, given, profile in (
        ("a", {}, "openai"),
        ("b", {"profile": "azure"}, "azure"),
        ("c", {"profile": None}, "openai"),
    ):
        made = await world.made(world.at("ai-connection"), {"name": name, "provider": "openai", "config": {}, **given})
        assert made["profile"] == profile


async def test_a_key_is_shown_once(world: ApiWorld) -> None:
    shown = (await world.admin.get(f"{world.at('api-key')}/{world.key_id}")).json()
    assert "key" not in shown
    assert shown["maskedKey"].startswith("brim_")
    assert world.key not in str((await world.admin.get(world.at("api-key"))).json())
    assert len(world.key) >= 48
    assert "setup:*" not in shown["scopes"]


async def test_a_put_changes_what_it_names(world: ApiWorld) -> None:
    path = f"{world.at('ai-resource')}/{world.resource}"
    before = (await world.admin.get(path)).json()
    assert (before["timeoutMs"], before["maxRetries"], before["enforceCapacity"]) == (600_000, 5, True)
    capacity = [{"period": "minute", "requests": 60, "burstSeconds": 2.5}]
    change = {"capacity": capacity, "defaultArgs": {"temperature": 0.5}, "maxInFlight": 3}
    after = (await world.admin.put(path, json=change)).json()
    assert after["capacity"][0]["period"] == "MINUTE"
    assert {**before, **after} == after
    assert (after["name"], after["model"]) == (before["name"], before["model"])
    lifted = (await world.admin.put(path, json={"maxInFlight": None})).json()
    assert (lifted["maxInFlight"], lifted["capacity"]) == (None, after["capacity"])
    back = await world.admin.put(path, json=lifted)
    assert back.status_code == 200


async def test_who_makes_calls_sees_a_change_within_a_moment(world: ApiWorld) -> None:
    now_s = 0.0
    catalog = Catalog(world.core.store.setup, world.core.vault, lambda: now_s)
    await catalog.refresh()

    async def seen() -> tuple[str, str, int]:
        nonlocal now_s
        now_s += CHECK_S + 0.001
        await catalog.refresh()
        served, account = catalog.resource(UUID(world.resource)), catalog.account(UUID(world.connection))
        assert served is not None
        assert account is not None
        return served.resource.targets[0].model, account.name, len(catalog._resources)

    before = await seen()
    assert before == ("m", "sim", 1)
    model = {"model": {"connectionName": "sim", "model": "other"}}
    await world.admin.put(f"{world.at('ai-resource')}/{world.resource}", json=model)
    assert await seen() == ("other", "sim", 1)
    await world.admin.put(f"{world.at('ai-connection')}/{world.connection}", json={"name": "moved"})
    assert await seen() == ("other", "moved", 1)
    model = {"model": {"connectionName": "moved", "model": "m"}}
    made = await world.made(world.at("ai-resource"), {"name": "new", **model})
    assert await seen() == ("other", "moved", 2)
    await world.admin.delete(f"{world.at('ai-resource')}/{made['resourceId']}")
    assert await seen() == ("other", "moved", 1)


async def test_headroom_is_found_by_name_too(world: ApiWorld) -> None:
    slashed = await world.add_resource("meta/llama 3")
    for noun, object_id, name in (
        ("ai-connection", world.connection, "sim"),
        ("ai-resource", world.resource, "r"),
        ("ai-resource", slashed["resourceId"], "meta/llama%203"),
        ("ai-resource", slashed["resourceId"], "meta%2Fllama%203"),
    ):
        by_id = await world.admin.get(f"{world.at(noun)}/{object_id.upper()}/headroom")
        by_name = await world.admin.get(f"{world.at(noun)}/{name}/headroom")
        assert (by_id.status_code, by_name.status_code) == (200, 200)
        assert by_name.json() == by_id.json()
        ghost = await world.admin.get(f"{world.at(noun)}/ghost/headroom")
        assert (ghost.status_code, ghost.json()["errorCode"][-10:]) == (404, "_NOT_FOUND")


async def test_a_key_sees_the_headroom_of_what_it_may_use_and_nothing_else(world: ApiWorld) -> None:
    await world.add_resource("other")
    key = (await world.made(world.at("api-key"), {"name": "narrow", "resources": ["r"]}))["key"]
    creator = await world.made(world.at("api-key"), {"name": "creator", "scopes": ["completion-batch:create"]})

    async def answer(path: str, text: str) -> tuple[int, str | None]:
        found = await world.client.get(f"{path}/headroom", headers={"x-api-key": text})
        return found.status_code, found.json().get("errorCode")

    resources = world.at("ai-resource")
    assert await answer(f"{resources}/r", key) == (200, None)
    assert await answer(f"{resources}/other", key) == (403, "API_KEY_RESOURCE_NOT_AUTHORIZED")
    assert await answer(f"{resources}/r", creator["key"]) == (403, "NOT_AUTHORIZED")
    assert await answer(f"{world.at('ai-connection')}/sim", key) == (403, "NOT_AUTHORIZED")


async def test_changed_limits_reach_the_engine_at_once(world: ApiWorld) -> None:
    path = f"{world.at('ai-connection')}/{world.connection}"
    await world.admin.put(path, json={"capacity": [{"period": "MINUTE", "requests": 600, "tokens": 1000}]})
    headroom = (await world.admin.get(f"{path}/headroom")).json()
    [limit] = headroom["budget"]["limits"]
    assert limit["requests"] == {"limit": 600, "used": 0, "headroom": 600}
    assert limit["tokens"]["limit"] == 1000
    resource = f"{world.at('ai-resource')}/{world.resource}"
    await world.admin.put(resource, json={"maxInFlight": 7})
    await world.create(2)
    shown = (await world.admin.get(f"{resource}/headroom")).json()
    assert shown["budget"]["inFlight"] == {"used": 0, "limit": 7}
    assert shown["waiting"] == 1
    assert [each["name"] for each in shown["targets"]] == ["sim"]


async def test_calls_at_once_are_not_held_any_more_when_a_profile_has_limits(world: ApiWorld) -> None:
    path = f"{world.at('ai-connection')}/{world.connection}"
    assert (await world.admin.put(path, json={"profile": "vllm"})).status_code == 200
    await world.create(50)
    assert await claimed(world) == FIRST_PLACES
    assert (await world.admin.put(path, json={"profile": "openai"})).status_code == 200
    assert await claimed(world) == 50 - FIRST_PLACES


async def test_a_changed_connection_goes_before_what_was_learned_of_its_models(world: ApiWorld) -> None:
    path = f"{world.at('ai-connection')}/{world.connection}"
    await world.admin.put(path, json={"capacity": [{"period": "MINUTE", "requests": 600}]})
    shard, model = await world.shard(), model_budget_id(UUID(str(world.connection)), "m")
    lower = (Limit("MINUTE", 200, None),)
    told = Observation(model, f"connection-{world.connection}", lower, (), 0, True, None)
    assert await world.core.engine.observe(shard, [told])

    async def learned() -> list[int | None]:
        return [limit.requests_limit for limit in (await world.core.engine.headroom(shard, [model]))[model].limits]

    assert await learned() == [200]
    await world.admin.put(path, json={"capacity": [{"period": "MINUTE", "requests": 700}]})
    assert await learned() == [700]
    assert await world.core.engine.observe(shard, [told]), "it is learned again when an answer tells it"
    assert await learned() == [200]


@pytest.mark.parametrize(
    ("noun", "body", "field"),
    [
        ("ai-connection", {"provider": "openai"}, "name"),
        ("ai-connection", {"name": "x"}, "provider"),
        ("ai-connection", {"name": "x", "provider": "acme"}, "provider"),
        ("ai-connection", {"name": "x", "provider": "noop"}, "provider"),
        ("ai-connection", {"name": "x", "provider": "vllm"}, "config.baseUrl"),
        ("ai-connection", {"name": "x", "provider": "vllm", "config": {"baseUrl": "file:///etc"}}, "config.baseUrl"),
        ("ai-connection", {"name": "x", "provider": "openai", "config": {"apiKey": "********"}}, "config.apiKey"),
        ("ai-connection", {"name": "x", "provider": "openai", "limits": []}, "limits"),
        ("ai-connection", {"name": "x", "provider": "openai", "capacity": [{"period": "DAYS"}]}, "capacity[0].period"),
        ("ai-resource", {"name": "x"}, "model"),
        ("ai-resource", {"name": "x", "model": {"model": "m"}}, "model.connectionId"),
        ("ai-resource", {"name": "", "model": {"model": "m", "connectionName": "sim"}}, "name"),
        (
            "ai-resource",
            {"name": "x", "model": {"model": "m", "connectionName": "sim"}, "maxRetries": -1},
            "maxRetries",
        ),
        ("api-key", {"scopes": []}, "name"),
        ("api-key", {"name": "x", "scopes": ["everything"]}, "scopes[0]"),
        ("api-key", {"name": "a\0b"}, "name"),
    ],
)
async def test_a_wrong_field_is_named(world: ApiWorld, noun: str, body: dict[str, Any], field: str) -> None:
    answer = await world.admin.post(world.at(noun), json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (422, "VALIDATION_ERROR"), answer.text
    assert answer.json()["details"]["errors"][0]["field"] == field


async def test_names_and_references_are_checked(world: ApiWorld) -> None:
    model = {"connectionName": "sim", "model": "m"}
    for noun, body, expected in (
        ("ai-resource", {"name": "r", "model": model}, (409, "ALREADY_EXISTS")),
        ("ai-resource", {"name": "x", "model": {**model, "connectionName": "no"}}, (404, "AI_CONNECTION_NOT_FOUND")),
        ("api-key", {"name": "x", "resources": ["no"]}, (404, "AI_RESOURCE_NOT_FOUND")),
    ):
        answer = await world.admin.post(world.at(noun), json=body)
        assert (answer.status_code, answer.json()["errorCode"]) == expected
    nobody = uuid4()
    for noun, code in (
        ("ai-connection", "AI_CONNECTION_NOT_FOUND"),
        ("ai-resource", "AI_RESOURCE_NOT_FOUND"),
        ("api-key", "API_KEY_NOT_FOUND"),
    ):
        path = f"{world.at(noun)}/{nobody}"
        for method, json in (("GET", None), ("PUT", {}), ("DELETE", None)):
            answer = await world.admin.request(method, path, json=json)
            assert (answer.status_code, answer.json()["errorCode"]) == (404, code)


async def test_what_is_in_use_stays(world: ApiWorld) -> None:
    await world.create(1)
    for path in (
        f"{world.at('ai-connection')}/{world.connection}",
        f"{world.at('ai-resource')}/{world.resource}",
        f"/v1/workspace/{world.workspace}",
    ):
        answer = await world.admin.delete(path)
        assert (answer.status_code, answer.json()["errorCode"]) == (409, "INVALID_STATE"), path


async def test_objects_come_and_go(world: ApiWorld) -> None:
    extra = await world.add_resource("extra", fallbackModels=[{"connectionId": world.connection, "model": "b"}])
    assert extra["fallbackModels"] == [{"connectionId": world.connection, "model": "b"}]
    listed = (await world.admin.get(world.at("ai-resource"))).json()["data"]
    assert [each["name"] for each in listed] == ["extra", "r"]
    assert (await world.admin.delete(f"{world.at('ai-resource')}/{extra['resourceId']}")).status_code == 204
    body = {"type": "ASYNC", "items": [item(1, resourceId="extra")]}
    assert (await world.client.post(world.batches, json=body)).status_code == 404
    workspace = await world.made("/v1/workspace", {"name": "b", "workspaceId": str(uuid4())})
    path = f"/v1/workspace/{workspace['workspaceId']}"
    assert (await world.admin.put(path, json={"name": "c"})).json()["name"] == "c"
    environment = await world.made(f"/v1/environment/{workspace['workspaceId']}", {"name": "e"})
    inner = f"/v1/environment/{workspace['workspaceId']}/{environment['environmentId']}"
    assert (await world.admin.put(inner, json={"name": "f"})).json()["name"] == "f"
    assert (await world.admin.delete(inner)).status_code == 204
    assert (await world.admin.delete(path)).status_code == 204
    assert (await world.admin.get(path)).status_code == 404
