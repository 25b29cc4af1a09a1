"""Calls whose answer is passed on while it comes, byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import aiohttp
import msgspec

from scheduler.domain.outcome import AttemptEnd, Failed, Retry, Succeeded, Usage
from scheduler.domain.rates import RateReport
from scheduler.domain.setup import Provider
from scheduler.providers.anthropic.messages import AnthropicMessages
from scheduler.providers.anthropic.streamed import as_stream
from scheduler.providers.bodies import build_body
from scheduler.providers.call import Call
from scheduler.providers.classify import classify
from scheduler.providers.dialects import read_rates
from scheduler.providers.posting import TROUBLE, Poster, end_of
from scheduler.providers.usages import usage_in
from scheduler.providers.wire import read_bounded

EVENT_STREAM = "text/event-stream"
LONGEST_LINE_BYTES = 1 << 20
"""A longer line of a stream is passed on like any other, but not looked at."""


class StreamBroken(Exception):
    """The answer broke off. end: as the end of the attempt."""

    def __init__(self, end: Retry | Failed) -> None:
        super().__init__(end.reason)
        self.end = end


class _ResponseEvent(msgspec.Struct):
    """An event of /v1/responses; the last one carries the response."""

    response: msgspec.Raw = msgspec.Raw()


_EVENTS = msgspec.json.Decoder(_ResponseEvent)


class UsageWatch:
    """Reads along, and finds the usage that a stream reports near its end. `usage` is None as long as there is none."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._rest = b""

    def see(self, piece: bytes) -> None:
        """The next bytes of the stream, cut anywhere."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LONGEST_LINE_BYTES:
            self._rest = b""
        for line in lines:
            if line.startswith(b"data:") and b'"usage"' in line:
                self._read(line[5:].strip())

    def _read(self, data: bytes) -> None:
        try:
            found = usage_in(data)
            if found == Usage(None, None):
                inner = bytes(_EVENTS.decode(data).response)
                found = usage_in(inner) if inner else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if found is not None and found != Usage(None, None):
            self.usage = found


class OpenStream:
    """A good answer that is on its way. headers: those of the answer, lower-case names. usage: as far as known. rates:
    what the headers said about the provider's limits."""

    def __init__(
        self,
        call: Call,
        headers: dict[str, str],
        source: AsyncIterator[bytes],
        close: Callable[[], None],
        usage: Usage | None = None,
        rates: RateReport | None = None,
    ) -> None:
        self.headers = headers
        self.rates = rates
        self._call = call
        self._source = source
        self._close = close
        self._watch = UsageWatch()
        self._watch.usage = usage

    @property
    def usage(self) -> Usage | None:
        """What the stream has reported so far."""
        return self._watch.usage

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises StreamBroken when it does not come to its end."""
        try:
            async for piece in self._source:
                self._watch.see(piece)
                yield piece
        except TROUBLE as problem:
            raise StreamBroken(end_of(problem, self._call)) from problem

    def close(self) -> None:
        """Let go of the connection; harmless after the end."""
        self._close()


class Streaming:
    """Opens streams over one session. wall_s: the Unix clock.

    A connection on Anthropic's wire is called as for a batch, and its whole answer becomes one chunk: its own events
    are of another form.
    """

    def __init__(self, session: aiohttp.ClientSession, wall_s: Callable[[], float]) -> None:
        self._poster = Poster(session)
        self._anthropic = AnthropicMessages(self._poster, wall_s)
        self._wall_s = wall_s

    async def open(self, call: Call) -> OpenStream | AttemptEnd:
        """Make the call. Raises TooLate (nothing was sent); what is no success is an AttemptEnd."""
        if call.account.provider is Provider.ANTHROPIC:
            end = await self._anthropic.send(call)
            return _one_chunk(call, end) if isinstance(end, Succeeded) else end
        try:
            body = build_body(call.request, call.endpoint, call.model, call.default_args, streamed=True)
        except ValueError:
            return Failed("The request is not a JSON object.", "INVALID_REQUEST")
        url = call.account.address.url_of(call.endpoint, call.model)
        response = await self._poster.open(call, url, body)
        if not isinstance(response, aiohttp.ClientResponse):
            return response
        headers = {name.lower(): value for name, value in response.headers.items()}
        if response.status == 200:
            rates = read_rates(call.account.profile.dialect, 200, headers, b"", self._wall_s())
            return OpenStream(call, headers, response.content.iter_any(), response.close, rates=rates)
        try:
            refusal = await read_bounded(response)
        except TROUBLE as problem:
            return end_of(problem, call)
        finally:
            response.release()
        return classify(response.status, headers, refusal, self._wall_s(), call.account.profile)


def _one_chunk(call: Call, end: Succeeded) -> OpenStream:
    async def source() -> AsyncIterator[bytes]:
        yield as_stream(end.body, call.request)

    return OpenStream(call, {**end.headers, "content-type": EVENT_STREAM}, source(), lambda: None, end.usage, end.rates)
