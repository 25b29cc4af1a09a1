"""The duties for batches that come as files, put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from aiohttp import ClientSession

from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.providers.batch_api import BatchApi
from scheduler.services.batches.opening import Opening
from scheduler.services.callers.tenants import Tenants
from scheduler.services.files.files import Files
from scheduler.services.setup.catalog import Catalog
from scheduler.services.shards.access import Shards
from scheduler.services.shards.recovery import Recovery
from scheduler.services.submissions.handing_over import HandingOver
from scheduler.services.submissions.ingestion import Ingestion
from scheduler.settings import Settings
from workers import hander
from workers.duty import begin
from workers.hander import Hander
from workers.ingester import Ingester
from workers.publisher import Publisher
from workers.spooler import Spooler

INGESTERS = 2
"""So that a small submission need not wait for a large one before it."""
LEASES = 2
"""A submission is held for the time of so many leases of entries: its steps take longer than a renewal."""
PARTS = "outgoing"
"""Folder beside the contents of files: results while they are written."""


class Submissions:
    """Ingesters, the publisher and, where it is asked for, the spooler of one process."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        recovery: Recovery,
        files: Files,
        catalog: Catalog,
        calls: ClientSession,
        holder: str,
        utc_now: Callable[[], datetime],
        on_deliveries: Callable[[], None],
    ) -> None:
        opening = Opening(settings, store, engine, Tenants(store), Shards(recovery))
        self._threads = ThreadPoolExecutor(INGESTERS, thread_name_prefix="brim-ingest")
        ingestion = Ingestion(settings, store, files, opening, self._threads, utc_now)
        lease_s = LEASES * settings.lease_ms / 1000
        self._ingesters = [Ingester(store.submissions, ingestion, holder, lease_s) for _ in range(INGESTERS)]
        folder = settings.files_dir / PARTS
        self._publisher = Publisher(
            store.submissions, files, folder, holder, lease_s, utc_now, time.monotonic, on_deliveries
        )
        handing_over = HandingOver(
            store, engine, Tenants(store), Shards(recovery), catalog, BatchApi(calls), holder, hander.LEASE_S, utc_now
        )
        self._hander = Hander(store.handovers, handing_over, holder, settings.native_poll_s)
        spool = settings.spool_dir
        self._spoolers = [] if spool is None else [Spooler(store, files, spool, utc_now)]

    def start(self, stop: asyncio.Event) -> list[asyncio.Task[None]]:
        """Begin; the tasks end after `stop`."""
        return [
            *(begin(each.pause_s, each.run_once, stop, name="ingester") for each in self._ingesters),
            begin(self._publisher.pause_s, self._publisher.run_once, stop, name="publisher"),
            begin(hander.IDLE_S, self._hander.run_once, stop, name="hander"),
            *(begin(each.pause_s, each.run_once, stop, name="spooler") for each in self._spoolers),
        ]

    async def close(self) -> None:
        """The tasks have ended: let others go on at once."""
        await self._publisher.let_go()
        for spooler in self._spoolers:
            spooler.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
