"""Every route while Postgres is away: 503 with Retry-After, nothing else that a caller did not cause, and no stack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from scheduler.bootstrap import open_core
from scheduler.domain.errors import Unavailable
from scheduler.domain.ids import ItemIds
from scheduler.domain.public_ids import BATCH, FILE, MESSAGE_BATCH, shown_id
from scheduler.settings import Settings
from tests.api.test_events import frames_of
from tests.api.world import ApiWorld, inhabited, item
from tests.line import Line, line_to
from tests.polling import eventually

OF_ADMINS = ("/v1/workspace", "/v1/environment", "/v1/ai-", "/v1/api-key", "/v1/status", "/v1/pool")
WITHOUT_POSTGRES = {"/health/live", "/metrics"}


@pytest.fixture
async def line(settings: Settings) -> AsyncIterator[Line]:
    async with line_to(settings.database_url) as line:
        yield line


@pytest.fixture
async def world(settings: Settings, line: Line) -> AsyncIterator[ApiWorld]:
    """A tenant on an API whose Postgres is at the end of the line."""
    async with open_core(settings.model_copy(update={"database_url": line.database_url})) as core:
        async with inhabited(core) as world:
            yield world
        await line.connect()  # to be closed in order


def path_of(template: str, world: ApiWorld, batch_id: str) -> str:
    """The path of a route with ids that exist, as far as they are asked for."""
    values = {
        "workspaceId": world.workspace,
        "environmentId": world.environment,
        "batchId": batch_id,
        "itemId": str(ItemIds(UUID(batch_id)).of(1)),
        "connectionId": world.connection,
        "resourceId": world.resource,
        "apiKeyId": world.key_id,
    }
    for name, value in values.items():
        template = template.replace("{" + name + "}", value)
    # Ids of things that do not exist: whether they do cannot be known either.
    unknown = {"deliveryId": batch_id, "file_id": shown_id(FILE, UUID(batch_id)), "model": "r"}
    unknown["batch_id"] = shown_id(MESSAGE_BATCH if "messages" in template else BATCH, UUID(batch_id))
    for name, value in unknown.items():
        template = template.replace("{" + name + "}", value)
    return template


async def test_every_route_answers_503_with_retry_after_or_blames_the_request(world: ApiWorld, line: Line) -> None:
    batch = await world.create(2)
    paths: dict[str, dict[str, Any]] = (await world.client.get("/openapi.json")).json()["paths"]
    await line.cut()
    wrong: list[str] = []
    asked = 0
    for template, methods in paths.items():
        if template in WITHOUT_POSTGRES:
            continue
        for method in methods:
            client = world.admin if template.startswith(OF_ADMINS) else world.client
            answer = await client.request(method, path_of(template, world, batch["batchId"]), json=body_for(template))
            asked += 1
            if answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1:
                continue
            # A body or a path that is refused before anything is asked of Postgres; never a 5xx, never success.
            if 400 <= answer.status_code < 500 and method != "get":
                continue
            wrong.append(f"{method} {template}: {answer.status_code} {answer.text[:100]}")
    assert wrong == []
    assert asked > 50
    assert (await world.client.get("/health/live")).status_code == 200


def body_for(template: str) -> dict[str, Any]:
    """A body that the routes of batches take; others may blame it."""
    if template.endswith("{environmentId}") and "completion-batch" in template:
        return {"type": "ASYNC", "items": [item(1)]}
    return {}


async def test_what_was_refused_meanwhile_works_afterwards(world: ApiWorld, line: Line) -> None:
    await line.cut()
    refused = await world.client.post(world.batches, json={"type": "ASYNC", "items": [item(1)]})
    assert (refused.status_code, refused.json()["errorCode"]) == (503, "UNAVAILABLE")
    await line.connect()

    async def is_taken() -> bool:
        answer = await world.client.post(world.batches, json={"type": "ASYNC", "items": [item(1)]})
        return answer.status_code == 201

    await eventually(is_taken, "a batch is taken again")


async def test_a_stream_that_is_cut_ends_with_an_error_and_is_resumed_without_a_gap(
    world: ApiWorld, line: Line
) -> None:
    batch = await world.create(3)
    await world.finish(batch["batchId"], [1])
    path = f"{world.batches}/{batch['batchId']}/events"
    seen = []
    async with asyncio.timeout(30), world.client.stream("GET", path) as answer:
        async for frame in frames_of(answer):
            seen.append(frame)
            if frame.event_id == 2:
                await line.cut()
    assert [frame.event_id for frame in seen[:2]] == [1, 2]
    assert [frame.data for frame in seen[2:]][-1] == "[ERROR]"
    assert '"errorCode":"UNAVAILABLE"' in seen[2].data
    await line.connect()

    async def are_finished() -> bool:
        try:
            await world.finish(batch["batchId"], [2, 3])
        except Unavailable:
            return False
        return True

    await eventually(are_finished, "Postgres is back")
    headers = {"Last-Event-ID": "2"}
    async with asyncio.timeout(30), world.client.stream("GET", path, headers=headers) as answer:
        rest = [frame async for frame in frames_of(answer)]
    assert [frame.event_id for frame in rest] == [3, 4, 5, None]
    assert rest[-1].data == "[DONE]"


HASTE_S = 0.5


@pytest.fixture
async def hasty(settings: Settings, line: Line) -> AsyncIterator[ApiWorld]:
    """A tenant on an API that waits for the answers of Postgres for half a second."""
    changes = {"database_url": line.database_url, "read_patience_s": HASTE_S}
    async with open_core(settings.model_copy(update=changes)) as core:
        async with inhabited(core) as world:
            yield world
        line.flow()  # to be closed in order


async def test_every_read_of_a_postgres_that_hangs_is_answered_503_in_time(hasty: ApiWorld, line: Line) -> None:
    batch = await hasty.create(2)
    paths: dict[str, dict[str, Any]] = (await hasty.client.get("/openapi.json")).json()["paths"]
    reads = [path for path, methods in paths.items() if "get" in methods and path not in WITHOUT_POSTGRES]
    line.hang()

    async def refused(template: str) -> tuple[str, int, bool]:
        client = hasty.admin if template.startswith(OF_ADMINS) else hasty.client
        # httpx gives up long before the 30 s of a statement do.
        answer = await client.get(path_of(template, hasty, batch["batchId"]), timeout=10)
        return template, answer.status_code, int(answer.headers.get("retry-after", 0)) >= 1

    found = await asyncio.gather(*(refused(template) for template in reads))
    assert found == [(template, 503, True) for template in reads]
    assert len(reads) > 20


async def test_reads_go_on_when_postgres_does(hasty: ApiWorld, line: Line) -> None:
    batch = await hasty.create(1)
    path = f"{hasty.batches}/{batch['batchId']}"
    line.hang()
    assert [(await hasty.client.get(path)).status_code for _ in range(3)] == [503] * 3
    line.flow()

    async def is_read() -> bool:
        return (await hasty.client.get(path)).status_code == 200

    await eventually(is_read, "the batch is read again")


async def test_a_stream_that_has_begun_outlasts_the_patience_with_a_postgres_that_hangs(
    hasty: ApiWorld, line: Line
) -> None:
    batch = await hasty.create(1)
    path = f"{hasty.batches}/{batch['batchId']}"
    actions = []
    async with asyncio.timeout(30), hasty.client.stream("GET", f"{path}/events") as answer:
        async for frame in frames_of(answer):
            actions.append(frame.action)
            if len(actions) == 1:
                line.hang()
                # As long as another read is refused, the stream has waited for longer than a read may.
                assert (await hasty.client.get(path)).status_code == 503
                line.flow()
                await hasty.finish(batch["batchId"], [1])
    assert actions == ["batch-created", "item-completed", "batch-completed", "[DONE]"]
