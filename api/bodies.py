"""A request's body as it comes: unpacked, and not slower than a client may be."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Iterator

from fastapi import Request
from starlette.requests import ClientDisconnect

from scheduler.domain.errors import Malformed, Rejected

SLOWEST_BYTES_PER_S = 1024
"""What comes more slowly uses up the time for a silence: a body that drips in keeps what came of it in memory. What
came fast before earns no more than one such time."""
_STEP_BYTES = 1 << 20
"""So much is unpacked before others have their turn."""


async def pieces(request: Request, stall_s: float) -> AsyncIterator[bytes]:
    """The pieces of a body, unpacked when `Content-Encoding: gzip` says so.

    Raises Rejected UNSUPPORTED_ENCODING for any other encoding, REQUEST_TIMEOUT when nothing comes for stall_s or it
    comes too slowly, Malformed when it is cut short or no gzip.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    match encoding:
        case "" | "identity":
            async for piece in _arriving(request, stall_s):
                yield piece
        case "gzip" | "x-gzip":
            unpacking = _Unpacking()
            async for packed in _arriving(request, stall_s):
                for piece in unpacking.of(packed):
                    yield piece
                    await asyncio.sleep(0)
            unpacking.end()
        case _:
            raise Rejected(
                f"Content-Encoding {encoding[:40]!r} is not known here; send gzip or none.",
                code="UNSUPPORTED_ENCODING",
            )


async def _arriving(request: Request, stall_s: float) -> AsyncIterator[bytes]:
    stream = aiter(request.stream())
    left_s = stall_s
    while True:
        waits_since_s = time.monotonic()
        try:
            async with asyncio.timeout(stall_s):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except ClientDisconnect:
            raise Malformed("The body was cut short.") from None
        except TimeoutError:
            raise Rejected(f"Nothing came of the body for {stall_s:g} s.", code="REQUEST_TIMEOUT") from None
        left_s -= time.monotonic() - waits_since_s
        if left_s < 0 and len(piece) < -left_s * SLOWEST_BYTES_PER_S:
            raise Rejected("The body comes too slowly.", code="REQUEST_TIMEOUT")
        left_s = min(stall_s, left_s + len(piece) / SLOWEST_BYTES_PER_S)
        if piece:
            yield piece


class _Unpacking:
    """gzip, of one or more members, in steps."""

    def __init__(self) -> None:
        self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._begun = False

    def of(self, packed: bytes) -> Iterator[bytes]:
        """What a piece unpacks to, at most _STEP_BYTES at a time. Raises Malformed."""
        try:
            while packed:
                if self._gzip.eof:
                    self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
                self._begun = True
                piece = self._gzip.decompress(packed, _STEP_BYTES)
                packed = self._gzip.unused_data or self._gzip.unconsumed_tail
                if piece:
                    yield piece
        except zlib.error:
            raise Malformed("Content-Encoding says gzip, but the body is none.") from None

    def end(self) -> None:
        """Raises Malformed when the last member is cut short."""
        if self._begun and not self._gzip.eof:
            raise Malformed("The gzip body is cut short.")
