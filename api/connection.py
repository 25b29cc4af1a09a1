"""One connection of a client: what it may send before its request is complete, and how long it may keep us waiting.

Memory of an answer is bounded by uvicorn's flow control: what a client does not take stays in the transport (64 KiB and
one chunk), and nothing more is made until it does. Here is the time limit to that.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from scheduler.settings import Settings

HEAD_BYTES: Final = 64 * 1024
"""Largest request line with headers."""
HEAD_S: Final = 20.0
"""A request's headers are complete within so long of its first byte, or of the connection."""
STALL_S: Final = 60.0
SILENCE_S: Final = 660.0
GRACE_S: Final = 60.0
"""Beyond the time that an upload may be silent: it is told so, and then has time to end."""
_log = structlog.get_logger(__name__)


def _refusal(status: str, code: str, message: str) -> bytes:
    """A whole answer, for what never became a request: no path says whose form of errors it expects, so it is ours."""
    body = msgspec.json.encode({"errorCode": code, "errorMessage": message})
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body


_TOO_LARGE: Final = _refusal(
    "431 Request Header Fields Too Large", "TOO_LARGE", f"The headers may have {HEAD_BYTES} bytes."
)


def patience(settings: Settings) -> dict[str, float]:
    """The limits of a connection that are settings."""
    return {"stall_s": settings.client_stall_s, "silence_s": settings.upload_silence_s + GRACE_S}


class BoundedConnection(HttpToolsProtocol):
    """Closes connections whose client is too slow or sends too much before its request begins.

    stall_s: a client that does not take what waits for it within so long is cut off. silence_s: so is one that sends
    nothing of a body that it began (the last net: routes that read into memory have less patience).
    """

    def __init__(
        self,
        *args: Any,
        head_s: float = HEAD_S,
        stall_s: float = STALL_S,
        silence_s: float = SILENCE_S,
        **named: Any,
    ) -> None:
        super().__init__(*args, **named)
        self._head_s = head_s
        self._stall_s = stall_s
        self._silence_s = silence_s
        self._heard_s = 0.0
        self._body_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the base class
        """A client came."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._end(self._head_timer)
        self._end(self._stall_timer)
        self._end(self._body_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; the head of a request may not grow for ever."""
        self._heard_s = self.loop.time()
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._begin_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            _log.info("connection.refused", why="headers too large")
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self.transport.write(_refusal("400 Bad Request", "MALFORMED_REQUEST", msg))
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._in_head, self._head_bytes = False, 0
        self._end(self._head_timer)
        self._head_timer = None
        super().on_headers_complete()
        self._end(self._body_timer)
        self._body_timer = self.loop.call_later(self._silence_s, self._listen)

    def on_message_complete(self) -> None:
        """The request is complete; what comes next is the head of another."""
        self._in_head = True
        self._end(self._body_timer)
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client takes less than we send."""
        super().pause_writing()
        self._end(self._stall_timer)
        self._stall_timer = self.loop.call_later(self._stall_s, self._cut_off, "takes nothing of its answer")

    def resume_writing(self) -> None:
        """It caught up."""
        self._end(self._stall_timer)
        super().resume_writing()

    def _listen(self) -> None:
        """The body is not complete: did the client send, or do we not read?"""
        silent_s = 0.0 if self.flow.read_paused else self.loop.time() - self._heard_s
        if silent_s >= self._silence_s:
            self._cut_off("sends nothing of its body")
        else:
            self._body_timer = self.loop.call_later(self._silence_s - silent_s, self._listen)

    def _begin_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_s, self._cut_off, "sends no request")

    def _cut_off(self, why: str) -> None:
        _log.info("connection.cut_off", why=why)
        # Not closed: that would wait for the client to take what it does not take.
        self.transport.abort()

    @staticmethod
    def _end(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
