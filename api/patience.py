"""Nobody waits long for a read: when its answer does not begin in time, the answer is that we cannot read now."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.failures import form_of
from scheduler.domain.errors import Unavailable

_READS: Final = frozenset({"GET", "HEAD"})


class Patience:
    """ASGI middleware: a read whose answer has not begun after the `read_patience_s` of the settings is answered with
    UNAVAILABLE, whatever it waits for and in how many steps.

    A store that hangs lets every statement wait for its own time-out, which is long because some statements are. Only
    the beginning is awaited: streams and downloads go on as long as they like. What changes something is left alone,
    as nobody could say whether it did.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._given_up: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] not in _READS:
            await self._app(scope, receive, send)
            return
        begun = late = False

        async def noting(message: Message) -> None:
            nonlocal begun
            if not late:  # else the answer is out, and nobody hears the rest
                begun = True
                await send(message)

        reading = asyncio.create_task(self._read(scope, receive, noting))
        try:
            await asyncio.wait({reading}, timeout=scope["app"].state.services.settings.read_patience_s)
            if begun or reading.done():
                await reading
                return
        finally:
            reading.cancel()
        late = True
        # Not awaited: to take a connection back from a server that hangs takes seconds more.
        self._given_up.add(reading)
        reading.add_done_callback(self._forget)
        error = Unavailable("What was asked for cannot be read at the moment.")
        await form_of(scope["path"]).of_error(error)(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _forget(self, reading: asyncio.Task[None]) -> None:
        self._given_up.discard(reading)
        if not reading.cancelled():
            reading.exception()  # looked at: the store's own word on it comes too late
