"""HTTP/1.1 by hand: what well-behaved clients seldom send."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from brim_server.simulator.options import Options
from brim_server.simulator.server import Running, running


@pytest.fixture
async def raw() -> AsyncIterator[tuple[Running, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection to a simulator that takes bodies up to 1,000 bytes."""
    async with running(Options(latency_ms=0, max_body_bytes=1000)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.origin.rsplit(":", 1)[1]))
        try:
            yield server, reader, writer
        finally:
            writer.close()
            await writer.wait_closed()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(size)


RawConnection = tuple[Running, asyncio.StreamReader, asyncio.StreamWriter]


def http(body: bytes, headers: bytes = b"") -> bytes:
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (
        headers,
        len(body),
        body,
    )


def chat_bytes(latency_ms: int, model: str) -> bytes:
    return b'{"model":"%s","messages":[{"role":"user"}],"brim_sim":{"latency_ms":%d}}' % (
        model.encode(),
        latency_ms,
    )


async def test_pipelined_requests_are_answered_in_order(raw: RawConnection) -> None:
    _, reader, writer = raw
    slow, fast, at_once = chat_bytes(60, "slow"), chat_bytes(1, "fast"), chat_bytes(0, "at-once")
    writer.write(http(slow) + http(fast) + http(at_once) + b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    for expected in (b'"slow"', b'"fast"', b'"at-once"', b'"list"'):
        status, body = await read_answer(reader)
        assert status == 200
        assert expected in body


async def test_many_pipelined_requests_are_all_answered(raw: RawConnection) -> None:
    _, reader, writer = raw
    for number in range(500):
        writer.write(http(chat_bytes(number % 3, "m")))
    for _ in range(500):
        assert (await read_answer(reader))[0] == 200


async def test_chunked_and_fragmented_bodies(raw: RawConnection) -> None:
    _, reader, writer = raw
    body = chat_bytes(0, "m")
    message = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    message += b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    for index in range(len(message)):
        writer.write(message[index : index + 1])
        await writer.drain()
    assert (await read_answer(reader))[0] == 200


async def test_expect_continue(raw: RawConnection) -> None:
    _, reader, writer = raw
    message = http(chat_bytes(0, "m"), b"Expect: 100-continue\r\n")
    head, _, body = message.partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n")
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await read_answer(reader))[0] == 200


async def test_connection_close_is_honoured(raw: RawConnection) -> None:
    server, reader, writer = raw
    writer.write(http(chat_bytes(0, "m"), b"Connection: close\r\n"))
    assert (await read_answer(reader))[0] == 200
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    assert server.provider.ledger.stats()["requests"] == 1


@pytest.mark.parametrize(
    "message",
    [
        http(b"x" * 1001),
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3e9\r\n%s\r\n0\r\n\r\n" % (b"x" * 1001),
    ],
)
async def test_huge_bodies_are_413(raw: RawConnection, message: bytes) -> None:
    server, reader, writer = raw
    writer.write(message + http(chat_bytes(0, "m")))
    assert (await read_answer(reader))[0] == 413
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    assert server.provider.ledger.stats()["requests"] == 0


async def test_what_is_not_http_is_400(raw: RawConnection) -> None:
    _, reader, writer = raw
    writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    assert (await read_answer(reader))[0] == 400
