"""Server-sent events: frames made by the event stream, keep-alives and disconnects by sse-starlette."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import Request
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse

from scheduler.domain.errors import Invalid

PING_S = 15
_MOST = 2**63 - 1


def last_event_id(request: Request) -> int:
    """The event number after which the caller wants to go on; 0 when it says none. Raises Invalid."""
    text = request.headers.get("last-event-id", "").strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or int(text) > _MOST:
        raise Invalid("Last-Event-ID must be the number of an event.")
    return int(text)


def event_source(frames: AsyncIterator[bytes]) -> EventSourceResponse:
    """An answer that sends finished frames, and a comment every 15 s."""
    return EventSourceResponse(
        frames, ping=PING_S, sep="\n", ping_message_factory=lambda: ServerSentEvent(comment="ping", sep="\n")
    )
