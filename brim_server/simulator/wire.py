"""HTTP/1.1 on one asyncio protocol: keep-alive, pipelining, chunked bodies. Made for speed on loopback."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol, cast

import httptools

from brim_server.simulator import dialect
from brim_server.simulator.ledger import ABANDONED, RESET, Call
from brim_server.simulator.provider import Outcome, Reply, Request, Reset, Silence

_PHRASES: Final = {int(status): status.phrase for status in HTTPStatus}
_STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}\r\n".encode() for status in range(200, 600)
}
_JSON: Final = b"content-type: application/json\r\n"
_EVENTS: Final = b"content-type: text/event-stream; charset=utf-8\r\n"
_CLOSE: Final = b"connection: close\r\n"
_GO_ON: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_MOST_PIPELINED: Final = 64
_LINGER_S: Final = 1.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Handler(Protocol):
    """What answers requests."""

    def __call__(self, request: Request, /) -> Outcome: ...


class Connections:
    """Every open connection of the server, and how many there have been."""

    def __init__(self) -> None:
        self.open: set[Connection] = set()
        self.seen = 0

    def counts(self) -> tuple[int, int]:
        """(open, seen in all)."""
        return len(self.open), self.seen

    def abort_all(self) -> None:
        """End them at once, unanswered calls included."""
        for connection in list(self.open):
            connection.abort()


class _Turn:
    """One request's place in the order in which its connection answers."""

    __slots__ = ("call", "is_last", "payload", "timer")

    def __init__(self, call: Call | None, is_last: bool) -> None:
        self.call = call
        self.is_last = is_last
        self.payload: bytes | None = None
        self.timer: asyncio.TimerHandle | None = None


class Connection(asyncio.Protocol):
    """Reads requests, hands each whole one to the handler, and answers in the order of asking."""

    __slots__ = (
        "_authorization",
        "_body_bytes",
        "_chunks",
        "_connections",
        "_handle",
        "_is_closing",
        "_loop",
        "_max_body_bytes",
        "_parser",
        "_script",
        "_target",
        "_transport",
        "_turns",
    )

    def __init__(
        self,
        handle: Handler,
        connections: Connections,
        loop: asyncio.AbstractEventLoop,
        max_body_bytes: Callable[[], int],
    ) -> None:
        self._handle = handle
        self._connections = connections
        self._loop = loop
        self._max_body_bytes = max_body_bytes
        self._parser: httptools.HttpRequestParser | None = None
        self._transport: asyncio.Transport | None = None
        self._turns: deque[_Turn] = deque()
        self._is_closing = False
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it
        self._parser = httptools.HttpRequestParser(self)
        self._connections.open.add(self)
        self._connections.seen += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio passes it)
        self._connections.open.discard(self)
        self._is_closing = True
        self._parser = None  # it refers back to us
        self._transport = None
        self._drop_turns()

    def data_received(self, data: bytes) -> None:
        if self._is_closing or self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(400, "The request is not valid HTTP/1.1.")

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and len(self._turns) < _MOST_PIPELINED:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close without answering what waits."""
        if self._transport is not None:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._target = b""
        self._authorization = b""
        self._script = b""
        self._chunks: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"authorization":
                self._authorization = value
            case b"x-brim-sim":
                self._script = value
            case b"content-length" if value.isdigit() and int(value) > self._max_body_bytes():
                self._refuse_body()
            case b"expect" if not self._is_closing and self._transport is not None:
                self._transport.write(_GO_ON)
            case _:
                pass

    def on_body(self, chunk: bytes) -> None:
        if self._is_closing:
            return
        self._body_bytes += len(chunk)
        if self._body_bytes > self._max_body_bytes():
            self._refuse_body()
        else:
            self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if self._is_closing or self._parser is None:
            return
        chunks, parser = self._chunks, self._parser
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        path, _, query = self._target.partition(b"?")
        outcome = self._handle(Request(parser.get_method(), path, body, self._authorization, self._script, query))
        turn = _Turn(outcome.call, not parser.should_keep_alive())
        self._turns.append(turn)
        match outcome:
            case Reply(delay_s=delay_s):
                turn.payload = _payload(outcome, turn.is_last)
                if delay_s > 0:
                    turn.timer = self._loop.call_later(delay_s, self._ripe, turn)
                else:
                    self._ripe(turn)
            case Reset(delay_s=delay_s):
                turn.timer = self._loop.call_later(delay_s, self._reset, turn)
            case Silence():
                pass
        if len(self._turns) >= _MOST_PIPELINED and self._transport is not None:
            self._transport.pause_reading()

    def _ripe(self, turn: _Turn) -> None:
        """The turn's answer may go; it goes when those asked for before it are gone."""
        turn.timer = None
        turns, transport = self._turns, self._transport
        if transport is None:
            return
        was_full = len(turns) >= _MOST_PIPELINED
        while turns and (head := turns[0]).payload is not None and head.timer is None:
            turns.popleft()
            transport.write(head.payload)
            if head.call is not None:
                head.call.end(int(head.payload[9:12]))
            if head.is_last:
                self._is_closing = True
                self._drop_turns()
                transport.close()
                return
        if was_full and len(turns) < _MOST_PIPELINED:
            transport.resume_reading()

    def _reset(self, turn: _Turn) -> None:
        turn.timer = None
        if self._transport is None:
            return
        if turn.call is not None:
            turn.call.end(RESET)
        raw = self._transport.get_extra_info("socket")
        if raw is not None:  # so that close() sends RST, not FIN
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def _refuse_body(self) -> None:
        self._refuse(413, f"The request body is larger than {self._max_body_bytes()} bytes.")

    def _refuse(self, status: int, message: str) -> None:
        """Answer and close, but linger: closing while the caller still sends would destroy our answer."""
        if self._is_closing or self._transport is None:
            return
        self._is_closing = True
        self._drop_turns()
        self._transport.write(_payload(Reply(status, dialect.invalid_request(message)), is_last=True))
        self._loop.call_later(_LINGER_S, self._transport.close)

    def _drop_turns(self) -> None:
        for turn in self._turns:
            if turn.timer is not None:
                turn.timer.cancel()
            if turn.call is not None:
                turn.call.end(ABANDONED)
        self._turns.clear()


def _payload(reply: Reply, is_last: bool) -> bytes:
    if reply.is_stream:
        return _stream_payload(reply, is_last)
    return b"%s%s%s%scontent-length: %d\r\n\r\n%s" % (
        _STATUS_LINES[reply.status],
        _JSON,
        reply.head,
        _CLOSE if is_last else b"",
        len(reply.body),
        reply.body,
    )


def _stream_payload(reply: Reply, is_last: bool) -> bytes:
    """Events in a chunk each, as they would come one by one; up to the end of the connection if this is its last
    answer, which also suits a caller of HTTP/1.0."""
    start = _STATUS_LINES[reply.status] + _EVENTS + reply.head
    if is_last:
        return b"%s%s\r\n%s" % (start, _CLOSE, reply.body)
    events = reply.body.split(b"\n\n")[:-1]
    chunks = b"".join([b"%x\r\n%s\n\n\r\n" % (len(event) + 2, event) for event in events])
    return b"%stransfer-encoding: chunked\r\n\r\n%s0\r\n\r\n" % (start, chunks)
