"""Files over the official `openai` package, and what only shows on the wire."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.api.server import serving
from tests.api.world import ADMIN_KEY, ApiWorld
from tests.polling import eventually

LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "r"}}\n'


@pytest.fixture
async def client(world: ApiWorld) -> AsyncIterator[AsyncOpenAI]:
    """The official client, with the tenant's key."""
    async with AsyncOpenAI(base_url=f"{world.url}/v1", api_key=world.key, max_retries=0) as client:
        yield client


async def upload(client: AsyncOpenAI, content: bytes = LINE, name: str = "in.jsonl", **more: Any) -> Any:
    """A file for a batch."""
    return await client.files.create(file=(name, content), purpose=more.pop("purpose", "batch"), **more)


def contents(world: ApiWorld) -> list[Path]:
    """Everything that lies in the file store, drafts included."""
    return [path for path in world.core.settings.files_dir.rglob("*") if path.is_file()]


async def test_a_file_comes_back_as_it_was(client: AsyncOpenAI) -> None:
    content = bytes(range(256)) * 5_000
    made = await upload(client, content)
    assert made.id.startswith("file-")
    assert (made.object, made.bytes, made.filename) == ("file", len(content), "in.jsonl")
    assert (made.purpose, made.status, made.status_details) == ("batch", "processed", None)
    assert made.expires_at == made.created_at + 30 * 86_400
    assert await client.files.retrieve(made.id) == made
    assert await client.files.wait_for_processing(made.id) == made
    assert (await client.files.content(made.id)).content == content


async def test_a_streamed_download_is_the_file_too(client: AsyncOpenAI) -> None:
    content = LINE * 20_000
    made = await upload(client, content)
    read = hashlib.sha256()
    async with client.files.with_streaming_response.content(made.id) as answer:
        async for piece in answer.iter_bytes(65_536):
            read.update(piece)
    assert read.digest() == hashlib.sha256(content).digest()


async def test_the_owner_says_when_a_file_expires(client: AsyncOpenAI) -> None:
    made = await upload(client, expires_after={"anchor": "created_at", "seconds": 3_600})
    assert made.expires_at == made.created_at + 3_600


async def test_only_inputs_of_batches_expire_by_themselves(client: AsyncOpenAI) -> None:
    made = await upload(client, name="notes.txt", purpose="user_data")
    assert made.expires_at is None


async def test_the_list_pages_without_gaps_or_repeats(client: AsyncOpenAI) -> None:
    made = [(await upload(client, LINE * (n + 1))).id for n in range(7)]
    assert [file.id async for file in client.files.list(limit=3)] == made[::-1]
    assert [file.id async for file in client.files.list(limit=2, order="asc")] == made
    page = await client.files.list(limit=3, after=made[4])
    assert [file.id for file in page.data] == [made[3], made[2], made[1]]
    assert page.has_more


async def test_the_list_is_narrowed_to_a_purpose(client: AsyncOpenAI) -> None:
    await upload(client)
    other = await upload(client, name="a.txt", purpose="user_data")
    assert [file.id async for file in client.files.list(purpose="user_data")] == [other.id]
    assert [file.id async for file in client.files.list(purpose="batch_output")] == []


async def test_an_empty_list_says_so(world: ApiWorld) -> None:
    answer = await world.client.get("/v1/files")
    assert answer.json() == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


async def test_the_same_content_is_stored_once_and_goes_with_its_last_file(
    client: AsyncOpenAI, world: ApiWorld
) -> None:
    first, second = await upload(client), await upload(client)
    assert first.id != second.id
    assert [path.name for path in contents(world)] == [hashlib.sha256(LINE).hexdigest()]
    deleted = await client.files.delete(first.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (first.id, "file", True)
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(first.id)
    assert (await client.files.content(second.id)).content == LINE
    await client.files.delete(second.id)
    assert contents(world) == []
    with pytest.raises(openai.NotFoundError):
        await client.files.delete(second.id)


async def test_other_tenants_see_nothing(client: AsyncOpenAI, world: ApiWorld) -> None:
    made = await upload(client)
    workspace = (await world.made("/v1/workspace", {"name": "rival"}))["workspaceId"]
    environment = (await world.made(f"/v1/environment/{workspace}", {"name": "prod"}))["environmentId"]
    key = (await world.made(f"/v1/api-key/{workspace}/{environment}", {"name": "k"}))["key"]
    async with AsyncOpenAI(base_url=f"{world.url}/v1", api_key=key, max_retries=0) as rival:
        for refused in (rival.files.retrieve(made.id), rival.files.content(made.id), rival.files.delete(made.id)):
            with pytest.raises(openai.NotFoundError) as caught:
                await refused
            assert caught.value.body == {
                "message": f"No such File object: {made.id}",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        assert [file.id async for file in rival.files.list()] == []
        # The same content, from another tenant: deleting it there takes nothing from the first.
        await rival.files.delete((await upload(rival)).id)
    assert (await client.files.content(made.id)).content == LINE


BAD_UPLOADS: list[tuple[dict[str, str], str, str, str, str | None]] = [
    ({}, "in.jsonl", "Missing required parameter: 'purpose'.", "purpose", "missing_required_parameter"),
    ({"purpose": "batch"}, "in.csv", "Invalid file format for Batch API. Must be .jsonl", "file", None),
    ({"purpose": "batch"}, "", "Missing required parameter: 'file'.", "file", "missing_required_parameter"),
    (
        {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
        "in.jsonl",
        "Invalid value: 'expires_after[seconds]' must be a whole number from 3600 to 2592000.",
        "expires_after[seconds]",
        "invalid_value",
    ),
    (
        {"purpose": "batch", "expires_after[seconds]": "3600"},
        "in.jsonl",
        "Missing required parameter: 'expires_after[anchor]'.",
        "expires_after[anchor]",
        "missing_required_parameter",
    ),
]


async def test_a_bad_upload_is_refused_by_name_and_leaves_nothing(world: ApiWorld) -> None:
    for fields, name, message, param, code in BAD_UPLOADS:
        answer = await world.client.post("/v1/files", data=fields, files={"file": (name, LINE)})
        assert answer.status_code == 400, name
        assert answer.json() == {
            "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        }
    assert contents(world) == []


async def test_a_purpose_that_nobody_knows_is_refused(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Supported values are: 'assistants', 'batch'"):
        await upload(client, purpose="batch_output")


async def test_what_is_no_form_is_refused(world: ApiWorld) -> None:
    plain = await world.client.post("/v1/files", content=LINE)
    assert (plain.status_code, plain.json()["error"]["code"]) == (400, None)
    head = {"content-type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}'
    cut = await world.client.post("/v1/files", content=part, headers=head)
    assert cut.json()["error"]["message"] == "The multipart body ends before its last boundary."
    torn = await world.client.post("/v1/files", content=b"--x\r\n\r\n", headers=head)
    assert torn.json()["error"]["message"] == "The body is no well-formed multipart/form-data."
    assert contents(world) == []


async def test_a_file_over_the_limit_is_refused_and_leaves_nothing(world: ApiWorld) -> None:
    limit = world.core.settings.max_file_bytes
    exact = await world.client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", b"x" * limit)})
    assert (exact.status_code, exact.json()["bytes"]) == (200, limit)
    over = await world.client.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", b"x" * (limit + 1))}
    )
    assert (over.status_code, set(over.json()["error"])) == (413, {"message", "type", "param", "code"})
    assert len(contents(world)) == 1


async def test_a_sender_that_goes_away_leaves_nothing(world: ApiWorld) -> None:
    host, port = world.url.removeprefix("http://").split(":")
    _reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n%s'
        % (world.key.encode(), b"x" * 300_000)
    )
    await writer.drain()
    await eventually(lambda: any(path.stat().st_size for path in contents(world)), "some of it is on disk")
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: contents(world) == [], "the draft is gone")


async def test_a_silent_sender_is_given_up(world: ApiWorld) -> None:
    silent = world.core.settings.model_copy(update={"upload_silence_s": 0.2})
    async with serving(replace(world.core, settings=silent)) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" % world.key.encode()
        )
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 20)
        writer.close()
        await writer.wait_closed()
    assert contents(world) == []


async def test_parts_of_a_file(client: AsyncOpenAI, world: ApiWorld) -> None:
    path = f"/v1/files/{(await upload(client, b'0123456789')).id}/content"

    async def read(wanted: str, **more: str) -> httpx.Response:
        return await world.client.get(path, headers={"range": wanted, **more})

    for wanted, body, where in (
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
    ):
        answer = await read(wanted)
        assert (answer.status_code, answer.content, answer.headers["content-range"]) == (206, body, where)
    for wanted in ("bytes=0-1,3-4", "lines=1-2", "bytes=5-2", "bytes=-"):
        assert ((await read(wanted)).status_code, (await read(wanted)).content) == (200, b"0123456789")
    beyond = await read("bytes=10-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */10")
    tag = (await world.client.get(path)).headers["etag"]
    assert (await read("bytes=0-0", **{"if-range": tag})).status_code == 206
    assert (await read("bytes=0-0", **{"if-range": '"other"'})).status_code == 200


async def test_ids_never_become_paths(world: ApiWorld) -> None:
    for bad in ("file-..%2f..%2fetc%2fpasswd", "file-" + "g" * 32, "file-" + "A" * 32, "nonsense", "file-"):
        for path in (f"/v1/files/{bad}", f"/v1/files/{bad}/content"):
            answer = await world.client.get(path)
            assert (answer.status_code, set(answer.json()["error"])) == (404, {"message", "type", "param", "code"})


async def test_an_expired_file_is_gone_at_once_and_swept_later(client: AsyncOpenAI, world: ApiWorld) -> None:
    made = await upload(client, expires_after={"anchor": "created_at", "seconds": 3_600})
    kept = await upload(client, LINE * 2)
    later = datetime.now(UTC) + timedelta(hours=1)
    swept = await world.core.files.sweep(later)
    assert (swept.files, swept.contents) == (1, 1)
    assert [file.id async for file in client.files.list()] == [kept.id]
    assert len(contents(world)) == 1
    assert (await world.client.get(f"/v1/files/{made.id}")).status_code == 404


REFUSALS: list[tuple[str, str, str | None, int, str]] = [
    ("GET", "/v1/files", "wrong", 401, "invalid_api_key"),
    ("GET", "/v1/files", ADMIN_KEY, 403, "insufficient_permissions"),
    ("PUT", "/v1/files", None, 405, "method_not_supported"),
    ("GET", "/v1/files/a/b/c", None, 404, "unknown_url"),
    ("GET", "/v1/files?limit=0", None, 400, "invalid_value"),
    ("GET", "/v1/files?order=up", None, 400, "invalid_value"),
    ("GET", "/v1/files?after=nonsense", None, 400, "invalid_value"),
    ("GET", "/v1/files?purpose=nonsense", None, 400, "invalid_value"),
]


async def test_every_refusal_has_all_four_keys(world: ApiWorld) -> None:
    for method, path, key, status, code in REFUSALS:
        async with httpx.AsyncClient(base_url=world.url) as plain:
            answer = await plain.request(method, path, headers={"authorization": f"Bearer {key or world.key}"})
        error = answer.json()["error"]
        assert (answer.status_code, set(error)) == (status, {"message", "type", "param", "code"}), path
        assert (error["type"], error["code"]) == ("invalid_request_error", code)


async def test_a_key_without_the_scope_is_refused(world: ApiWorld) -> None:
    key = (await world.made(world.at("api-key"), {"name": "k", "scopes": ["completion-batch:get"]}))["key"]
    async with AsyncOpenAI(base_url=f"{world.url}/v1", api_key=key, max_retries=0) as other:
        with pytest.raises(openai.PermissionDeniedError, match="batch:"):
            await upload(other)


async def test_models_are_the_resources_that_the_key_may_use(client: AsyncOpenAI, world: ApiWorld) -> None:
    other = (await world.add_resource("org/big"))["resourceId"]
    assert sorted([model.id async for model in client.models.list()]) == ["org/big", "r"]
    found = await client.models.retrieve("org/big")
    assert (found.id, found.object) == ("org/big", "model")
    with pytest.raises(openai.NotFoundError, match="does not exist") as caught:
        await client.models.retrieve("nothing")
    assert caught.value.code == "model_not_found"
    key = (await world.made(world.at("api-key"), {"name": "k", "resources": [other]}))["key"]
    async with AsyncOpenAI(base_url=f"{world.url}/v1", api_key=key, max_retries=0) as narrow:
        assert [model.id async for model in narrow.models.list()] == ["org/big"]
        with pytest.raises(openai.NotFoundError):
            await narrow.models.retrieve("r")
