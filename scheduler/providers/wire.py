"""The HTTP client of all adapters: connections kept open, nothing retried, and the moment of departure
known."""

from __future__ import annotations

import asyncio
import socket
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.connector import Connection

from scheduler.providers.call import Departure, TooLate

CONNECT_S = 10.0
"""Opening a connection, TLS included, may take this long; a warm one takes nothing."""
KEEP_ALIVE_S = 15.0
LARGEST_RESPONSE_BYTES = 64 * 1024 * 1024
"""An answer above this is not kept: memory of a worker is bounded."""

departing: ContextVar[Departure | None] = ContextVar("departing", default=None)
"""The departure of the call that this task makes."""


class ResponseTooLarge(Exception):
    """The provider's answer is above LARGEST_RESPONSE_BYTES."""


class _Connector(aiohttp.TCPConnector):
    """Stamps the departure as late as it can be known, and refuses to let a call leave too late.

    aiohttp writes a request in the same step of the loop in which it got its connection, so this is the
    socket write to within microseconds, without the cost of its tracing. A connection that was opened too
    late goes to the pool: the call's next try finds it warm.
    """

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        departure = departing.get()
        if departure is not None:
            now_s = asyncio.get_running_loop().time()
            if now_s > departure.send_by_s:
                connection.release()
                raise TooLate
            departure.sent_s = now_s
        return connection


def open_session() -> aiohttp.ClientSession:
    """A session for calls to providers; to be made inside the loop, and closed by the caller.

    No limit of its own (the engine decides who runs), no cookies, no redirects by default of the callers.
    """
    connector = _Connector(
        limit=0,
        keepalive_timeout=KEEP_ALIVE_S,
        enable_cleanup_closed=False,
        ttl_dns_cache=60,
        family=socket.AF_UNSPEC,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        raise_for_status=False,
        auto_decompress=True,
        skip_auto_headers=("User-Agent",),
        headers={"User-Agent": "brim"},
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=CONNECT_S),
    )


async def read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, or ResponseTooLarge (its connection is then closed)."""
    length = response.content_length
    if length is not None and length <= LARGEST_RESPONSE_BYTES:
        return await response.read()
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > LARGEST_RESPONSE_BYTES:
            response.close()
            raise ResponseTooLarge
        pieces.append(piece)
    return b"".join(pieces)
