"""The authorisation matrix: every route of the application against every kind of caller.

A route without a row fails the first test, so nobody adds a door without saying who may use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.routing import APIRoute, APIRouter
from starlette.routing import BaseRoute, Route

from api.app import described_app
from tests.api.world import ApiWorld, item

BATCHES = "/v1/completion-batch/{workspaceId}/{environmentId}"
SCOPES = (
    "completion-batch:create",
    "completion-batch:get",
    "completion-batch:cancel",
    "completion-batch:manage",
    "batch:*",
    "job:*",
    "setup:*",
)


class Door(Enum):
    """Who may use a route. The value: scopes of which one is enough; None: a key needs none, () : no key is enough."""

    PUBLIC = "public"
    ADMIN = ()
    SETUP = ("setup:*",)
    HEADROOM = ("completion-batch:get", "setup:*")
    CREATE = ("completion-batch:create",)
    GET = ("completion-batch:get",)
    CANCEL = ("completion-batch:cancel",)
    MANAGE = ("completion-batch:manage",)
    OPENAI = ("batch:*",)
    MODELS = None


OF_THE_KEY = (Door.OPENAI, Door.MODELS)
"""Without a tenant in the path: it is the key's, so the admin key has none, and another tenant's key its own."""

MATRIX: dict[str, Door] = {
    "GET /openapi.json": Door.PUBLIC,
    "HEAD /openapi.json": Door.PUBLIC,
    "GET /health/live": Door.PUBLIC,
    "GET /health/ready": Door.PUBLIC,
    "GET /metrics": Door.PUBLIC,
    "GET /v1/status": Door.ADMIN,
    f"GET {BATCHES}/dead-letters": Door.GET,
    f"POST {BATCHES}/dead-letters/replay": Door.MANAGE,
    f"POST {BATCHES}": Door.CREATE,
    f"GET {BATCHES}": Door.GET,
    f"GET {BATCHES}/{{batchId}}": Door.GET,
    f"PATCH {BATCHES}/{{batchId}}": Door.MANAGE,
    f"POST {BATCHES}/{{batchId}}/cancel": Door.CANCEL,
    f"POST {BATCHES}/{{batchId}}/pause": Door.MANAGE,
    f"POST {BATCHES}/{{batchId}}/resume": Door.MANAGE,
    f"GET {BATCHES}/{{batchId}}/events": Door.GET,
    f"GET {BATCHES}/{{batchId}}/results": Door.GET,
    f"POST {BATCHES}/{{batchId}}/retry": Door.MANAGE,
    f"GET {BATCHES}/{{batchId}}/deliveries": Door.GET,
    f"POST {BATCHES}/{{batchId}}/deliveries/replay": Door.MANAGE,
    f"POST {BATCHES}/{{batchId}}/deliveries/{{deliveryId}}/replay": Door.MANAGE,
    f"GET {BATCHES}/{{batchId}}/explain": Door.GET,
    f"GET {BATCHES}/{{batchId}}/{{itemId}}/explain": Door.GET,
    f"GET {BATCHES}/{{batchId}}/{{itemId}}": Door.GET,
    "POST /v1/files": Door.OPENAI,
    "GET /v1/files": Door.OPENAI,
    "GET /v1/files/{file_id}": Door.OPENAI,
    "DELETE /v1/files/{file_id}": Door.OPENAI,
    "GET /v1/files/{file_id}/content": Door.OPENAI,
    "POST /v1/batches": Door.OPENAI,
    "GET /v1/batches": Door.OPENAI,
    "GET /v1/batches/{batch_id}": Door.OPENAI,
    "POST /v1/batches/{batch_id}/cancel": Door.OPENAI,
    "POST /v1/messages/batches": Door.OPENAI,
    "GET /v1/messages/batches": Door.OPENAI,
    "GET /v1/messages/batches/{batch_id}": Door.OPENAI,
    "GET /v1/messages/batches/{batch_id}/results": Door.OPENAI,
    "POST /v1/messages/batches/{batch_id}/cancel": Door.OPENAI,
    "GET /v1/models": Door.MODELS,
    "GET /v1/models/{model:path}": Door.MODELS,
    "POST /v1/chat/completions": Door.OPENAI,
    "POST /v1/completions": Door.OPENAI,
    "POST /v1/embeddings": Door.OPENAI,
    "POST /v1/responses": Door.OPENAI,
    "POST /v1/moderations": Door.OPENAI,
    "GET /v1/workspace": Door.SETUP,
    "POST /v1/workspace": Door.ADMIN,
    "GET /v1/workspace/{workspaceId}": Door.SETUP,
    "PUT /v1/workspace/{workspaceId}": Door.ADMIN,
    "DELETE /v1/workspace/{workspaceId}": Door.ADMIN,
    "GET /v1/environment/{workspaceId}": Door.SETUP,
    "POST /v1/environment/{workspaceId}": Door.ADMIN,
    "GET /v1/environment/{workspaceId}/{environmentId}": Door.SETUP,
    "PUT /v1/environment/{workspaceId}/{environmentId}": Door.ADMIN,
    "DELETE /v1/environment/{workspaceId}/{environmentId}": Door.ADMIN,
    "GET /v1/ai-connection/{workspaceId}/{environmentId}/{connectionId:path}/headroom": Door.SETUP,
    "POST /v1/ai-connection/{workspaceId}/{environmentId}/{connectionId:path}/resume": Door.SETUP,
    "GET /v1/ai-resource/{workspaceId}/{environmentId}/{resourceId:path}/headroom": Door.HEADROOM,
}
for _method in ("GET", "POST", "PUT", "DELETE"):
    MATRIX[f"{_method} /v1/pool-definition/{{workspaceId}}/{{environmentId}}"] = Door.SETUP
for _noun, _id in (("ai-connection", "connectionId"), ("ai-resource", "resourceId"), ("api-key", "apiKeyId")):
    _root = f"/v1/{_noun}/{{workspaceId}}/{{environmentId}}"
    for _method in ("GET", "POST"):
        MATRIX[f"{_method} {_root}"] = Door.SETUP
    for _method in ("GET", "PUT", "DELETE"):
        MATRIX[f"{_method} {_root}/{{{_id}}}"] = Door.SETUP


def doors(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """ "METHOD path" of each route; included routers lie below."""
    for route in routes:
        if isinstance(route, Route | APIRoute):
            for method in route.methods or ():
                yield f"{method} {route.path}"
        else:
            included = getattr(route, "original_router", None)
            assert isinstance(included, APIRouter), f"{route} is no plain route: say in this test who may use it"
            yield from doors(included.routes)


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert set(doors(described_app().routes)) == set(MATRIX)


class Callers:
    """Keys of every kind in two tenants, and a request as each of them."""

    def __init__(self, world: ApiWorld) -> None:
        self.world = world
        self.keys: dict[str, str | None] = {"nobody": None, "a made-up key": "brim_made_up_key_of_nobody"}
        self.scopes: dict[str, frozenset[str]] = {}
        self.sibling: set[str] = set()
        self.foreign: set[str] = set()
        self.foreign_tenant = ("", "")

    async def set_up(self) -> None:
        world = self.world
        at = world.at("api-key")
        await self._add("the disabled key", at, SCOPES, enabled=False)
        await self._add("the key with all scopes", at, SCOPES)
        for scope in SCOPES:
            await self._add(f"the key with {scope}", at, (scope,))
        sibling = (await world.made(f"/v1/environment/{world.workspace}", {"name": "sibling"}))["environmentId"]
        name = "the key of the environment beside it"
        await self._add(name, f"/v1/api-key/{world.workspace}/{sibling}", SCOPES)
        self.sibling.add(name)
        workspace = (await world.made("/v1/workspace", {"name": "another"}))["workspaceId"]
        environment = (await world.made(f"/v1/environment/{workspace}", {"name": "prod"}))["environmentId"]
        name = "the key of another tenant"
        await self._add(name, f"/v1/api-key/{workspace}/{environment}", SCOPES)
        self.foreign.add(name)
        self.foreign_tenant = (workspace, environment)
        self.keys["the admin"] = world.admin.headers["authorization"].removeprefix("Bearer ")

    async def _add(self, name: str, path: str, scopes: tuple[str, ...], **more: Any) -> None:
        made = await self.world.made(path, {"name": name, "scopes": list(scopes), **more})
        self.keys[name] = made["key"]
        self.scopes[name] = frozenset(scopes)

    def expected(self, caller: str, door: Door, path: str) -> int:
        """401, 403, or 200 for whatever comes behind the door."""
        if door is Door.PUBLIC:
            return 200
        if caller in ("nobody", "a made-up key", "the disabled key"):
            return 401
        if caller == "the admin":
            return 403 if door in OF_THE_KEY else 200
        if door is not Door.MODELS and not self.scopes[caller] & set(door.value):
            return 403
        if "{environmentId}" in path and caller in self.sibling | self.foreign:
            return 403
        return 403 if "{workspaceId}" in path and caller in self.foreign else 200


async def ask(client: httpx.AsyncClient, method: str, path: str, key: str | None, **ids: str) -> httpx.Response:
    for name in ("connectionId", "resourceId", "model"):
        path = path.replace(f"{{{name}:path}}", f"{{{name}}}")
    path = path.format_map(Ids(ids))
    headers = {} if key is None else {"x-api-key": key}
    json: dict[str, Any] | None = {} if method in ("POST", "PUT", "PATCH") else None
    return await client.request(method, path, headers=headers, json=json)


class Ids(dict[str, str]):
    """Ids of nothing, where none was given."""

    def __missing__(self, key: str) -> str:
        return str(uuid4())


@pytest.fixture
async def callers(world: ApiWorld) -> Callers:
    callers = Callers(world)
    await callers.set_up()
    return callers


async def test_no_cell_of_the_matrix_is_wrong(world: ApiWorld, callers: Callers) -> None:
    wrong = []
    tenant = {"workspaceId": world.workspace, "environmentId": world.environment}
    async with httpx.AsyncClient(base_url=world.url, timeout=20) as client:
        for row, door in MATRIX.items():
            method, path = row.split(" ")
            for caller, key in callers.keys.items():
                answer = await ask(client, method, path, key, **tenant)
                expected = callers.expected(caller, door, path)
                got = answer.status_code if answer.status_code in (401, 403) else 200
                if got != expected or answer.status_code >= 500:
                    wrong.append((row, caller, answer.status_code, expected))
    assert wrong == []


async def test_what_belongs_to_another_tenant_is_not_there(world: ApiWorld, callers: Callers) -> None:
    """Ids of the first tenant under the address, or with the key, of the second."""
    body = {"type": "CALLBACK", "callbackOptions": {"url": "http://127.0.0.1:9/", "events": ["all"]}}
    batch = (await world.create(2, **body))["batchId"]
    await world.finish(batch, [1, 2])
    one = f"{world.batches}/{batch}"
    item_id = (await world.client.get(one)).json()["items"][0]["itemId"]
    delivery = (await world.client.get(f"{one}/deliveries")).json()["data"][0]["deliveryId"]
    file = {
        "file": ("in.jsonl", b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "r"}}')
    }
    uploaded = await world.client.post("/v1/files", files=file, data={"purpose": "batch"})
    assert uploaded.status_code == 200, uploaded.text
    openai_body = {"input_file_id": uploaded.json()["id"], "endpoint": "/v1/embeddings", "completion_window": "24h"}
    submitted = await world.client.post("/v1/batches", json=openai_body)
    assert submitted.status_code == 200, submitted.text
    workspace, environment = callers.foreign_tenant
    ids = {
        "workspaceId": workspace,
        "environmentId": environment,
        "batchId": batch,
        "itemId": item_id,
        "deliveryId": delivery,
        "connectionId": world.connection,
        "resourceId": world.resource,
        "apiKeyId": world.key_id,
        "file_id": uploaded.json()["id"],
        "batch_id": submitted.json()["id"],
        "model": "r",
    }
    own = {"workspaceId", "environmentId"}
    wrong, asked = [], 0
    async with httpx.AsyncClient(base_url=world.url, timeout=20) as client:
        for row in MATRIX:
            method, path = row.split(" ")
            named = {name for name in ids if f"{{{name}}}" in path or f"{{{name}:path}}" in path}
            if not named - own:
                continue
            asked += 1
            callers_of_row = ["the key of another tenant"]
            if named & own:
                callers_of_row.append("the admin")
            for caller in callers_of_row:
                answer = await ask(client, method, path, callers.keys[caller], **ids)
                # A body that is empty may be refused before the object is looked for.
                if answer.status_code not in (404, 422):
                    wrong.append((row, caller, answer.status_code, answer.text[:200]))
        stranger = {"x-api-key": str(callers.keys["the key of another tenant"])}
        seen = (await client.get("/v1/models", headers=stranger)).json()["data"]
        files = (await client.get("/v1/files", headers=stranger)).json()["data"]
        batches = (await client.get("/v1/batches", headers=stranger)).json()["data"]
        answer = await client.post("/v1/batches", json=openai_body, headers=stranger)
    assert wrong == []
    assert asked >= 25
    assert (seen, files, batches) == ([], [], [])
    assert answer.status_code in (400, 404)


async def test_an_allow_list_binds_every_door_that_takes_a_resource(world: ApiWorld) -> None:
    other = await world.add_resource("other")
    made = await world.made(world.at("api-key"), {"name": "listed", "resources": [other["resourceId"]]})
    headers = {"x-api-key": made["key"]}
    message = {"messages": [{"role": "user", "content": "Hello"}]}
    async with httpx.AsyncClient(base_url=world.url, headers=headers, timeout=20) as client:
        refused = await client.post(world.batches, json={"type": "ASYNC", "items": [item(1)]})
        assert (refused.status_code, refused.json()["errorCode"]) == (403, "API_KEY_RESOURCE_NOT_AUTHORIZED")
        good = await client.post(world.batches, json={"type": "ASYNC", "items": [item(1, resourceId="other")]})
        assert good.status_code == 201
        for path, body in (
            ("/v1/chat/completions", message),
            ("/v1/completions", {"prompt": "Hello"}),
            ("/v1/embeddings", {"input": "Hello"}),
            ("/v1/responses", {"input": "Hello"}),
            ("/v1/moderations", {"input": "Hello"}),
        ):
            answer = await client.post(path, json={**body, "model": "r"})
            assert answer.status_code in (403, 404), path
        assert [each["id"] for each in (await client.get("/v1/models")).json()["data"]] == ["other"]
        assert (await client.get("/v1/models/r")).status_code in (403, 404)
