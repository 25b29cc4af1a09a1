"""What both clients tell httpx, and the figures they share."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import httpx

from .answers import failure
from .endpoints import Call
from .settings import Settings

_T = TypeVar("_T")

# A large create is checked and stored before it is answered, which may take this long on a busy server.
DEFAULT_TIMEOUT_S = 60.0
_CONNECT_S = 10.0
# The server writes a keep-alive every 15 s: three missed ones mean that the connection is dead.
_STREAM_SILENCE_S = 50.0

ITEMS_PAGE = 1000
# How long `wait` pauses between its questions; the last one repeats.
WAIT_PAUSES_S: Sequence[float] = (0.1, 0.2, 0.3, 0.5, 0.5, 1.0, 1.0, 2.0)


def headers(settings: Settings) -> Mapping[str, str]:
    """What every request carries."""
    return bearer(settings.api_key)


def bearer(api_key: str) -> Mapping[str, str]:
    """What every request of a key carries."""
    return {"authorization": f"Bearer {api_key}", "user-agent": "brim-python"}


def timeout(timeout_s: float) -> httpx.Timeout:
    """The time limits of ordinary calls."""
    return httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))


def request(http: httpx.Client | httpx.AsyncClient, call: Call[_T], *, stream: bool = False) -> httpx.Request:
    """`call` as httpx sends it. A stream's silence is bounded by its keep-alives, not by the usual limit."""
    usual = http.timeout
    limits = usual
    if stream:
        silence_s = min(usual.read or _STREAM_SILENCE_S, _STREAM_SILENCE_S)
        limits = httpx.Timeout(connect=usual.connect, read=silence_s, write=usual.write, pool=usual.pool)
    content: bytes | Iterable[bytes] | AsyncIterable[bytes] | None = call.body
    if call.pieces is not None:
        content = _awaited(call.pieces) if isinstance(http, httpx.AsyncClient) else call.pieces
    return http.build_request(
        call.method, call.path, params=call.params, headers=call.headers, content=content, timeout=limits
    )


async def _awaited(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@contextmanager
def mapped(base_url: str) -> Iterator[None]:
    """Inside this, whatever httpx raises comes out as ours."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise failure(error, base_url) from error
