"""Who may do what, and what everybody is told who may not."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.world import ApiWorld, item
from tests.polling import eventually


def refused(answer: httpx.Response) -> tuple[int, str]:
    """(status, errorCode), after checking the contract's form."""
    error = answer.json()
    assert set(error) <= {"errorCode", "errorMessage", "details"}
    return answer.status_code, error["errorCode"]


@pytest.mark.parametrize(
    "headers",
    [{}, {"x-api-key": "brim_wrong"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x y"}, {"x-api-key": "é"}],
)
async def test_without_a_good_key_nothing_answers(world: ApiWorld, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    async with httpx.AsyncClient(base_url=world.url) as client:
        for path in (world.batches, "/v1/workspace", "/v1/status", world.batches + "/no-uuid"):
            answer = await client.get(path, headers=raw)
            assert refused(answer) == (401, "UNAUTHENTICATED")
        answer = await client.post(world.batches, content=b"{", headers=raw)
        assert refused(answer) == (401, "UNAUTHENTICATED")


async def test_both_ways_to_send_a_key_work(world: ApiWorld) -> None:
    async with httpx.AsyncClient(base_url=world.url) as client:
        for headers in ({"x-api-key": world.key}, {"Authorization": f"bearer {world.key}"}):
            assert (await client.get(world.batches, headers=headers)).status_code == 200


async def test_a_disabled_or_deleted_key_is_refused(world: ApiWorld) -> None:
    path = f"{world.at('api-key')}/{world.key_id}"
    assert (await world.client.get(world.batches)).status_code == 200
    assert (await world.admin.put(path, json={"enabled": False})).json()["enabled"] is False
    assert refused(await world.client.get(world.batches)) == (401, "UNAUTHENTICATED")
    await world.admin.put(path, json={"enabled": True})
    assert (await world.client.get(world.batches)).status_code == 200
    assert (await world.admin.delete(path)).status_code == 204
    assert refused(await world.client.get(world.batches)) == (401, "UNAUTHENTICATED")


async def test_a_key_disabled_by_another_process_is_refused_within_two_seconds(world: ApiWorld) -> None:
    assert (await world.client.get(world.batches)).status_code == 200
    keys = await world.core.store.setup.api_keys()
    from dataclasses import replace

    await world.core.store.setup.put_api_key(replace(keys[0], enabled=False), None, create=False)

    async def refuses() -> bool:
        return (await world.client.get(world.batches)).status_code == 401

    await eventually(refuses, "the key is refused", within_s=2.5)


async def test_a_key_stays_in_its_tenant(world: ApiWorld) -> None:
    other = (await world.made(f"/v1/environment/{world.workspace}", {"name": "other"}))["environmentId"]
    for workspace, environment in ((world.workspace, other), (str(uuid4()), world.environment)):
        path = f"/v1/completion-batch/{workspace}/{environment}"
        assert refused(await world.client.get(path)) == (403, "NOT_AUTHORIZED")
        assert refused(await world.client.get(f"{path}/no-uuid")) == (403, "NOT_AUTHORIZED")
        assert refused(await world.client.post(path, content=b"{")) == (403, "NOT_AUTHORIZED")
    assert refused(await world.client.get("/v1/completion-batch/x/y")) == (400, "INVALID_ID")


@pytest.mark.parametrize("scope", ["create", "get", "cancel", "manage"])
async def test_scopes_open_exactly_their_doors(world: ApiWorld, scope: str) -> None:
    batch = (await world.create(1))["batchId"]
    await world.finish(batch, [1])
    body = {"name": "k", "scopes": [f"completion-batch:{scope}"]}
    headers = {"x-api-key": (await world.made(world.at("api-key"), body))["key"]}
    one = f"{world.batches}/{batch}"
    calls: list[tuple[str, str, str, Any]] = [
        ("create", "POST", world.batches, {"type": "ASYNC", "items": [item(1)]}),
        ("get", "GET", world.batches, None),
        ("get", "GET", one, None),
        ("get", "GET", f"{one}/events", None),
        ("get", "GET", f"{one}/results", None),
        ("cancel", "POST", f"{one}/cancel", None),
        ("manage", "POST", f"{one}/pause", None),
        ("manage", "POST", f"{one}/resume", None),
        ("setup", "GET", world.at("ai-resource"), None),
        ("setup", "GET", "/v1/workspace", None),
        ("admin", "GET", "/v1/status", None),
    ]
    for needed, method, path, json in calls:
        answer = await world.client.request(method, path, json=json, headers=headers)
        assert (answer.status_code == 403) == (needed != scope), (needed, method, path)


async def test_a_setup_key_manages_its_environment_and_nothing_above(world: ApiWorld) -> None:
    key = (await world.made(world.at("api-key"), {"name": "ops", "scopes": ["setup:*"]}))["key"]
    headers = {"x-api-key": key}
    assert (await world.client.get(world.at("ai-connection"), headers=headers)).status_code == 200
    assert (await world.client.get(f"/v1/workspace/{world.workspace}", headers=headers)).status_code == 200
    listed = await world.client.get("/v1/workspace", headers=headers)
    assert [each["workspaceId"] for each in listed.json()["data"]] == [world.workspace]
    for method, path in (
        ("POST", "/v1/workspace"),
        ("DELETE", f"/v1/workspace/{world.workspace}"),
        ("POST", f"/v1/environment/{world.workspace}"),
        ("GET", f"/v1/workspace/{uuid4()}"),
        ("GET", world.batches),
    ):
        answer = await world.client.request(method, path, json={"name": "x"}, headers=headers)
        assert refused(answer) == (403, "NOT_AUTHORIZED")


async def test_the_admin_may_create_batches_where_tenants_exist(world: ApiWorld) -> None:
    body = {"type": "ASYNC", "items": [item(1)]}
    created = await world.admin.post(world.batches, json=body)
    assert (created.status_code, created.json()["createdByApiKeyId"]) == (201, None)
    nowhere = f"/v1/completion-batch/{world.workspace}/{uuid4()}"
    assert refused(await world.admin.post(nowhere, json=body)) == (404, "ENVIRONMENT_NOT_FOUND")
    assert refused(await world.admin.post(nowhere, content=b"{")) == (400, "MALFORMED_JSON")
    nowhere = f"/v1/completion-batch/{uuid4()}/{world.environment}"
    assert refused(await world.admin.get(nowhere)) == (404, "WORKSPACE_NOT_FOUND")


async def test_framework_errors_have_the_contracts_form(world: ApiWorld) -> None:
    assert refused(await world.client.get("/nothing")) == (404, "NOT_FOUND")
    answer = await world.client.patch("/v1/workspace")
    assert refused(answer) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"]
    assert refused(await world.admin.get("/v1/workspace/x")) == (400, "INVALID_ID")


async def test_health_metrics_and_status(world: ApiWorld) -> None:
    assert (await world.client.get("/health/live")).status_code == 200
    assert (await world.client.get("/health/ready")).json() == {"status": "ready"}
    metrics = await world.client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    await world.core.store.shards.beat("w-1", "worker", {"inFlight": 3, "metrics": {"brim_in_flight": 3.0}})
    await world.create(3)
    status = (await world.admin.get("/v1/status")).json()
    assert [(each["holder"], each["info"]) for each in status["workers"]] == [("w-1", {"inFlight": 3})]
    assert (status["active"], status["standby"], status["leases"]) == (1, 0, 0)
    [queue] = status["queues"]
    assert (queue["resourceId"], queue["waiting"]) == (world.resource, 1)
