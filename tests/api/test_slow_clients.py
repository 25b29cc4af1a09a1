"""Clients that send or take too little, too much or too deep: each is told or cut off, and costs bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
from structlog.testing import capture_logs

from scheduler.bootstrap import Core, open_core
from scheduler.settings import Settings
from tests.api.test_access import refused
from tests.api.world import ApiWorld, inhabited, item
from tests.polling import eventually

PATIENCE_S = 0.6
HEAD_S = 0.8


@pytest.fixture
async def core(settings: Settings) -> AsyncIterator[Core]:
    patient = settings.model_copy(update={"client_stall_s": PATIENCE_S})
    async with open_core(patient) as core:
        yield core


@pytest.fixture
async def world(core: Core) -> AsyncIterator[ApiWorld]:
    async with inhabited(core, head_s=HEAD_S) as world:
        yield world


async def connect(world: ApiWorld, **options: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(world.url)
    return await asyncio.open_connection(address.hostname, address.port, **options)


def head(world: ApiWorld, method: str, path: str, *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"x-api-key: {world.key}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def ended(reader: asyncio.StreamReader, within_s: float = 15.0) -> bytes:
    """What comes until the other side ends the connection."""
    came = b""
    try:
        async with asyncio.timeout(within_s):
            while piece := await reader.read(65_536):
                came += piece
    except ConnectionResetError:
        return came
    return came


async def test_headers_may_not_grow_for_ever(world: ApiWorld) -> None:
    reader, writer = await connect(world)
    writer.write(b"GET /health/live HTTP/1.1\r\nhost: x\r\n" + b"x-a: " + b"a" * 200_000)
    answer = await ended(reader)
    assert answer.startswith(b"HTTP/1.1 431 ")
    body = answer.partition(b"\r\n\r\n")[2]
    assert json.loads(body)["errorCode"] == "TOO_LARGE"
    writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-a: "])
async def test_a_request_that_does_not_come_to_its_end_is_cut_off(world: ApiWorld, sent: bytes) -> None:
    reader, writer = await connect(world)
    started_s = time.monotonic()
    writer.write(sent)
    assert await ended(reader) == b""
    assert time.monotonic() - started_s >= HEAD_S * 0.9
    writer.close()


async def test_what_is_no_http_gets_an_error_of_ours(world: ApiWorld) -> None:
    chunked = head(world, "POST", world.batches, "transfer-encoding: chunked") + b"ZZ\r\n{}"
    for sent in (b"hello\r\n\r\n", head(world, "BREW", world.batches), chunked):
        reader, writer = await connect(world)
        writer.write(sent)
        answer = await ended(reader)
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert (body["errorCode"], set(body)) == ("MALFORMED_REQUEST", {"errorCode", "errorMessage"})
        writer.close()


async def test_requests_one_after_the_other_each_have_their_time(world: ApiWorld) -> None:
    reader, writer = await connect(world)
    for _ in range(3):
        writer.write(head(world, "GET", "/health/live"))
        status = await reader.readuntil(b"\r\n\r\n")
        assert status.startswith(b"HTTP/1.1 200 ")
        await reader.readexactly(len(b'{"status":"live"}'))
    writer.close()


async def test_a_body_that_falls_silent_is_refused(world: ApiWorld) -> None:
    reader, writer = await connect(world)
    writer.write(head(world, "POST", world.batches, "content-type: application/json", "content-length: 1000") + b"{")
    came = await reader.readuntil(b"}")
    assert came.startswith(b"HTTP/1.1 408 ")
    assert b"REQUEST_TIMEOUT" in came
    writer.close()


@pytest.mark.parametrize("fast", [0, 99_000])
async def test_a_body_that_drips_is_refused_however_it_began(world: ApiWorld, fast: int) -> None:
    reader, writer = await connect(world)
    writer.write(head(world, "POST", world.batches, "content-type: application/json", "content-length: 100000"))
    writer.write(b" " * fast)

    async def drip() -> None:
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                async with asyncio.timeout(PATIENCE_S / 4):
                    await asyncio.Event().wait()
        except TimeoutError:
            await drip()
        except ConnectionError:
            return

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(15):
        came = await reader.readuntil(b"}")
    dripping.cancel()
    assert came.startswith(b"HTTP/1.1 408 ")
    assert b"too slowly" in came
    writer.close()


@pytest.mark.parametrize("path", ["", "/events", "/results"])
async def test_a_client_that_takes_nothing_is_cut_off(world: ApiWorld, path: str) -> None:
    """Far more than the kernel holds waits for it; it asks, and reads nothing."""
    count, size = 12, 900_000
    request = {"messages": [{"role": "user", "content": "x" * size}], "max_tokens": 5}
    lines = [{"type": "ASYNC"}, *(item(number, request=request) for number in range(count))]
    body = "\n".join(map(json.dumps, lines))
    headers = {"content-type": "application/x-ndjson"}
    made = await world.client.post(world.batches, content=body, headers=headers)
    assert made.status_code == 201, made.text
    batch = made.json()["batchId"]
    await world.finish(batch, range(1, count + 1))
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    address = urlsplit(world.url)
    await loop.sock_connect(slow, (address.hostname, address.port))
    with capture_logs() as logs:
        await loop.sock_sendall(slow, head(world, "GET", f"{world.batches}/{batch}{path}"))
        cut_off = "the client is cut off"
        await eventually(lambda: any(each["event"] == "connection.cut_off" for each in logs), cut_off)
        # Nobody goes on working for it.
        await eventually(lambda: any(each["event"] == "request.answered" for each in logs), "the answer is given up")
    got = 0
    with contextlib.suppress(ConnectionResetError):
        while piece := await loop.sock_recv(slow, 65_536):
            got += len(piece)
    slow.close()
    assert got < count * size


async def test_a_gzip_body_is_unpacked(world: ApiWorld) -> None:
    body = json.dumps({"type": "ASYNC", "items": [item(1), item(2)]}).encode()
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    half = len(body) // 2
    for packed in (gzip.compress(body), gzip.compress(body[:half]) + gzip.compress(body[half:])):
        made = await world.client.post(world.batches, content=packed, headers=headers)
        assert (made.status_code, made.json()["totalItems"]) == (201, 2)


async def test_what_is_no_gzip_is_refused_by_its_name(world: ApiWorld) -> None:
    body = json.dumps({"type": "ASYNC", "items": [item(1)]}).encode()
    headers = {"content-type": "application/json"}

    async def sent(content: bytes, encoding: str) -> httpx.Response:
        return await world.client.post(
            world.batches, content=content, headers={**headers, "content-encoding": encoding}
        )

    for encoding in ("br", "deflate", "gzip, gzip", "zstd"):
        answer = await sent(body, encoding)
        assert refused(answer) == (415, "UNSUPPORTED_ENCODING")
        assert "Content-Encoding" in answer.json()["errorMessage"]
    answer = await sent(body, "gzip")
    assert refused(answer) == (400, "MALFORMED_JSON")
    assert "Content-Encoding" in answer.json()["errorMessage"]
    assert refused(await sent(gzip.compress(body)[:-9], "gzip")) == (400, "MALFORMED_JSON")
    assert (await sent(body, "identity")).status_code == 201


async def test_a_gzip_bomb_is_refused_at_the_limit(world: ApiWorld) -> None:
    bomb = gzip.compress(b" " * 200_000_000, 1)
    assert len(bomb) < 2_000_000
    started_s = time.monotonic()
    answer = await world.client.post(
        world.batches, content=bomb, headers={"content-encoding": "gzip", "content-type": "application/json"}
    )
    assert refused(answer) == (413, "TOO_LARGE")
    assert time.monotonic() - started_s < 5


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
async def test_json_that_is_nested_too_deeply_is_refused(world: ApiWorld, opening: bytes) -> None:
    deep = opening * 150_000
    closed = b"[" * 50_000 + b"]" * 50_000
    in_item = b'{"type":"ASYNC","items":[{"resourceId":"r","request":{"messages":' + closed + b"}}]}"
    headers = {"content-type": "application/json"}
    for content in (deep, in_item, b'{"type":"ASYNC","metadata":{"a":' + closed + b'},"items":[]}'):
        answer = await world.client.post(world.batches, content=content, headers=headers)
        assert answer.status_code in (400, 422), answer.text
        assert set(answer.json()) <= {"errorCode", "errorMessage", "details"}
    lines = b'{"type":"ASYNC"}\n{"resourceId":"r","request":{"messages":' + closed + b"}}\n"
    answer = await world.client.post(world.batches, content=lines, headers={"content-type": "application/x-ndjson"})
    assert answer.status_code in (400, 422), answer.text
    for path in (world.at("ai-connection"), "/v1/workspace"):
        answer = await world.admin.post(path, content=deep, headers=headers)
        assert answer.status_code in (400, 422), answer.text
    for path in ("/v1/batches", "/v1/chat/completions", "/v1/embeddings"):
        for content in (deep, b'{"model":"r","messages":' + closed + b"}"):
            answer = await world.client.post(path, content=content, headers=headers)
            assert 400 <= answer.status_code < 500, (path, answer.text)
    assert (await world.client.get("/health/live")).status_code == 200
