"""The body of an upload as it comes, with its silences."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator

from scheduler.domain.errors import Malformed

MOMENT_S = 0.2
"""What came is handled after this pause at the latest, although no more comes."""


async def pieces_of(body: AsyncIterator[bytes], silence_s: float) -> AsyncGenerator[bytes | None, None]:
    """The pieces of a body; None after each moment without any. Raises Malformed after a silence of silence_s, and
    whatever reading raises when the sender goes away."""
    reading: asyncio.Future[bytes] | None = None
    heard_s = time.monotonic()
    try:
        while True:
            if reading is None:
                reading = asyncio.ensure_future(_next(body))
            done, _ = await asyncio.wait({reading}, timeout=MOMENT_S)
            if not done:
                if time.monotonic() - heard_s > silence_s:
                    raise Malformed("The upload was silent for too long.")
                yield None
                continue
            try:
                piece = reading.result()
            except _End:
                return
            finally:
                reading = None
            heard_s = time.monotonic()
            if piece:
                yield piece
    finally:
        if reading is not None:
            reading.cancel()
            with contextlib.suppress(BaseException):
                await reading


async def _next(body: AsyncIterator[bytes]) -> bytes:
    try:
        return await anext(body)
    except StopAsyncIteration:
        raise _End from None


class _End(Exception):
    """The body is complete."""
