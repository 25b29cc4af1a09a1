"""What tells an upload of lines from a JSON body, and its body as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import Request
from starlette.requests import ClientDisconnect

from scheduler.domain.errors import Malformed

_NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})


def is_ndjson(request: Request) -> bool:
    """Whether the body holds lines."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() in _NDJSON


def wants_early_start(request: Request) -> bool:
    """Whether items may run before all of them are here: `Prefer: early-start`."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(each.partition(";")[0].strip().lower() == "early-start" for each in preferences)


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises Malformed when the caller goes away."""
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise Malformed("The upload was cut short.") from None
