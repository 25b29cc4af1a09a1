"""Reading request bodies within their limit, and answering with views."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response

from api.bodies import pieces
from api.room import Share
from api.wiring import services_of
from scheduler.domain.errors import TooLarge
from scheduler.services.batches.views import encode
from scheduler.services.reading.json_text import decoded

SETUP_BODY_BYTES = 1 << 20
"""Largest body of a set-up object."""
_DRAINED_TIMES = 4
_JOINED_INLINE_BYTES = 1 << 20
"""Longer bodies are put together in a thread: 100 MB of fresh memory take 50 ms and more."""

T = TypeVar("T")


async def read_body(request: Request, limit_bytes: int, share: Share | None = None) -> bytes:
    """The whole body, unpacked. share: of the memory for bodies; None: it is small. Raises TooLarge above the limit,
    without keeping more than that, Unavailable TOO_MUCH_WAITING without room for it, and as `pieces` does.

    A refused body is read on and thrown away up to a few times the limit: a client that still sends would otherwise
    see a broken connection in place of the answer.
    """
    parts: list[bytes] = []
    size = 0
    async for part in pieces(request, services_of(request).settings.client_stall_s):
        size += len(part)
        if size <= limit_bytes and (share is None or share.take(len(part))):
            parts.append(part)
        else:
            parts.clear()
            if share is not None:
                share.give_back()
            if size > limit_bytes * _DRAINED_TIMES:
                break
    if size > limit_bytes:
        raise TooLarge(f"The body may have at most {limit_bytes} bytes.")
    if share is not None:
        share.require()
    if size <= _JOINED_INLINE_BYTES:
        return b"".join(parts)
    return await asyncio.get_running_loop().run_in_executor(None, b"".join, parts)


async def read_setup(request: Request, kind: type[T]) -> T:
    """A small body of ours, decoded. Raises TooLarge, Malformed, Invalid."""
    body: T = decoded(await read_body(request, SETUP_BODY_BYTES), kind)
    return body


def answered(view: Any, status: int = 200) -> Response:
    """A view as the JSON answer."""
    return Response(encode(view), status, media_type="application/json")
