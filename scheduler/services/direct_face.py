"""All that a process needs for direct calls, put together."""

from __future__ import annotations

import os
import secrets
import socket
import time

from scheduler.ports.engine import Engine
from scheduler.ports.store import SetupStore
from scheduler.providers.adapters import Adapters
from scheduler.providers.streaming import Streaming
from scheduler.providers.wire import open_session
from scheduler.services.catalog import Catalog, Unsealer
from scheduler.services.direct_binding import DirectBinding
from scheduler.services.direct_calls import DirectCalls
from scheduler.services.direct_feedback import DirectFeedback
from scheduler.services.direct_leases import DirectLeases
from scheduler.services.direct_line import DirectLine, Grants
from scheduler.services.direct_request import DirectRequests
from scheduler.services.observer import Observer
from scheduler.services.parkings import Parkings
from scheduler.services.shards import Shards
from scheduler.services.tenants import Tenants
from scheduler.settings import Settings


class DirectFace:
    """`requests` reads them, `calls` makes them. To be made inside the running loop, and closed there: its HTTP session
    keeps connections to providers open between calls."""

    def __init__(
        self,
        settings: Settings,
        setup: SetupStore,
        engine: Engine,
        grants: Grants,
        tenants: Tenants,
        shards: Shards,
        vault: Unsealer,
        parkings: Parkings,
    ) -> None:
        clock = time.monotonic
        holder = f"direct-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._session = open_session()
        self._leases = DirectLeases(engine, shards, settings.lease_ms, clock)
        self._line = DirectLine(engine, grants, shards, holder, settings.lease_ms, settings.start_by_ms, clock)
        self.requests = DirectRequests(setup, settings.default_output_tokens, clock)
        self._feedback = DirectFeedback(engine, Observer(engine, setup, clock), parkings, clock)
        self.calls = DirectCalls(
            tenants,
            Catalog(setup, vault, clock),
            DirectBinding(setup, engine, shards),
            self._line,
            self._leases,
            Adapters(self._session),
            Streaming(self._session, time.time),
            self._feedback,
            clock,
            allow_noop=settings.allow_noop,
        )

    async def close(self) -> None:
        """After the last call: leave the lines, tell the engine of all ends, close the connections."""
        await self._line.close()
        await self._leases.close()
        await self._feedback.close()
        await self._session.close()
