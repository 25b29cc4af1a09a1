"""All that a process needs for direct calls, put together."""

from __future__ import annotations

import os
import secrets
import socket
import time

from scheduler.ports.engine import Engine
from scheduler.ports.quotas import QuotaStore
from scheduler.ports.setup import SetupStore
from scheduler.providers.adapters import Adapters
from scheduler.providers.streaming import Streaming
from scheduler.providers.wire import open_session
from scheduler.services.budgets.observer import Observer
from scheduler.services.budgets.parkings import Parkings
from scheduler.services.callers.secrets import Vault
from scheduler.services.callers.tenants import Tenants
from scheduler.services.direct.binding import DirectBinding
from scheduler.services.direct.calls import DirectCalls
from scheduler.services.direct.feedback import DirectFeedback
from scheduler.services.direct.leases import DirectLeases
from scheduler.services.direct.line import DirectLine, Grants
from scheduler.services.direct.request import DirectRequests
from scheduler.services.setup.catalog import Catalog
from scheduler.services.shards.access import Shards
from scheduler.settings import Settings


class DirectFace:
    """`requests` reads them, `calls` makes them. To be made inside the running loop, and closed there: its HTTP session
    keeps connections to providers open between calls."""

    def __init__(
        self,
        settings: Settings,
        setup: SetupStore,
        quotas: QuotaStore,
        engine: Engine,
        grants: Grants,
        tenants: Tenants,
        shards: Shards,
        vault: Vault,
        parkings: Parkings,
    ) -> None:
        clock = time.monotonic
        holder = f"direct-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._session = open_session()
        self._leases = DirectLeases(engine, shards, settings.lease_ms, clock)
        self._line = DirectLine(engine, grants, shards, holder, settings.lease_ms, settings.start_by_ms, clock)
        self.requests = DirectRequests(setup, settings.default_output_tokens, clock)
        self._feedback = DirectFeedback(engine, Observer(engine, setup, clock), parkings, clock, time.time)
        self.calls = DirectCalls(
            tenants,
            Catalog(setup, vault, clock),
            DirectBinding(setup, quotas, engine, shards),
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
