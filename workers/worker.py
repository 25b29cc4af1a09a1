"""A worker: all duties of one process, started, drained."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp import ClientSession

from scheduler import metrics
from scheduler.domain.errors import Unavailable
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.providers.wire import open_session
from scheduler.services.callers.secrets import Vault
from scheduler.services.files.files import Files
from scheduler.services.setup.catalog import Catalog
from scheduler.services.shards.recovery import Recovery
from scheduler.settings import Settings
from workers import beat, shards
from workers.callbacks import CallbackSession, open_callback_session
from workers.delivery_leases import DeliveryLeases
from workers.duty import begin
from workers.housekeeping import Housekeeping
from workers.parcels import Parcels
from workers.pipeline import Pipeline
from workers.sender import Sender
from workers.submissions import Submissions
from workers.wakes import Bell

CLAIM_GRACE_S = 3.0
"""For claims on their way when the drain begins; a wait for a token is shorter."""
COMMIT_GRACE_S = 4.0
"""After the drain: for outcomes, settlements and callbacks on their way."""
WITHDRAW_GRACE_S = 1.0
"""At the end: for the word that this worker is gone. Without it others believe in it for half a minute, which is not
worth a wait for a Postgres that is away."""

_log = structlog.get_logger(__name__)


def new_holder() -> str:
    """A name for this process that no other has or had: leases and signs of life carry it."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class _Duties:
    """All parts of one worker, by name."""

    live: shards.LiveShards
    pipeline: Pipeline
    sender: Sender
    delivery_leases: DeliveryLeases
    housekeeping: Housekeeping
    submissions: Submissions
    beat: beat.Beat


class Worker:
    """Runs until `stop` is set, then drains: no new claims, calls in flight get settings.drain_s to end."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        bell: Bell,
        recovery: Recovery,
        vault: Vault,
        files: Files,
        holder: str | None = None,
    ) -> None:
        self.holder = holder or new_holder()
        self._settings = settings
        self._store = store
        self._engine = engine
        self._bell = bell
        self._recovery = recovery
        self._vault = vault
        self._files = files
        self._started_at = _utc_now()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set and everything in flight is recorded or given back."""
        async with AsyncExitStack() as stack:
            calls = await stack.enter_async_context(open_session())
            callbacks = await stack.enter_async_context(open_callback_session(self._settings.callback_allow_hosts))
            duties = self._assemble(calls, callbacks)
            await self._run(duties, stop)

    def _assemble(self, calls: ClientSession, callbacks: CallbackSession) -> _Duties:
        settings, store, engine, recovery = self._settings, self._store, self._engine, self._recovery
        clock = time.monotonic
        live = shards.LiveShards(store.shards, recovery)
        catalog = Catalog(store.setup, self._vault, clock)
        delivery_leases = DeliveryLeases(store.deliveries, self.holder, settings.lease_ms / 1000, clock)
        sender = Sender(
            store.deliveries,
            callbacks,
            self.holder,
            settings.delivery_concurrency,
            settings.delivery_host_concurrency,
            _utc_now,
            Parcels(settings.webhook_secrets, self._vault.open),
            delivery_leases,
            clock,
        )
        pipeline = Pipeline(
            settings, store, engine, self._bell, recovery, catalog, calls, live, self.holder, _utc_now, sender.wake
        )
        return _Duties(
            live=live,
            pipeline=pipeline,
            sender=sender,
            delivery_leases=delivery_leases,
            housekeeping=Housekeeping(
                settings, store, engine, recovery, self._files, self._vault, live, _utc_now, sender.wake
            ),
            submissions=Submissions(
                settings, store, engine, recovery, self._files, catalog, calls, self.holder, _utc_now, sender.wake
            ),
            beat=beat.Beat(store.shards, self.holder, lambda: self._info(pipeline), pipeline.living, clock),
        )

    async def _run(self, d: _Duties, stop: asyncio.Event) -> None:
        late = asyncio.Event()  # for duties that serve what is in flight: they outlive `stop`
        claiming = d.pipeline.start_claiming(stop)
        slow = [
            begin(shards.INTERVAL_S, d.live.run_once, stop, name="shards"),
            begin(0, d.sender.run_once, stop, name="sender"),
            *d.pipeline.start_tending(stop),
            *d.housekeeping.start(stop),
            *d.submissions.start(stop),
        ]
        serving = [
            *d.pipeline.start_serving(late),
            begin(0, d.sender.record_once, late, name="delivery-records"),
            begin(self._settings.renew_every_ms / 1000, d.delivery_leases.run_once, late, name="delivery-leases"),
            begin(beat.INTERVAL_S, d.beat.run_once, late, name="beat"),
        ]
        _log.info("worker.started", holder=self.holder, concurrency=self._settings.worker_concurrency)
        await stop.wait()
        drained_by_s = time.monotonic() + self._settings.drain_s
        _log.info("worker.draining", in_flight=d.pipeline.holdings.in_flight)
        d.pipeline.stop_claiming()
        d.sender.stop_waiting()
        await _end(claiming, CLAIM_GRACE_S)
        given_back = await d.pipeline.finish(drained_by_s)
        await self._flush_out(d)
        late.set()
        d.pipeline.committer.stop_waiting()
        d.sender.stop_waiting()
        await _end([*slow, *serving], 2.0)
        await d.submissions.close()
        # Who could not give its leases back is left to fall silent: a worker that withdrew holds nothing.
        if not d.pipeline.holdings:
            await _end([asyncio.create_task(_withdraw(d.beat), name="withdrawal")], WITHDRAW_GRACE_S)
        _log.info("worker.stopped", given_back=given_back, leases_left=len(d.pipeline.holdings))

    async def _flush_out(self, d: _Duties) -> None:
        """Everything that is decided is recorded and told, as far as the stores answer in time."""
        try:
            async with asyncio.timeout(COMMIT_GRACE_S):
                await d.pipeline.flush_out()
                await d.sender.finish(COMMIT_GRACE_S / 2)
        except (TimeoutError, Unavailable):
            _log.warning("worker.drain_cut_short", outcomes=len(d.pipeline.committer), leases=len(d.pipeline.holdings))

    def _info(self, pipeline: Pipeline) -> Mapping[str, Any]:
        holdings = pipeline.holdings
        holdings.observe()
        return {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "startedAt": self._started_at.isoformat(),
            "concurrency": self._settings.worker_concurrency,
            "inFlight": holdings.in_flight,
            "leases": len(holdings),
            "unflushed": len(pipeline.committer),
            "metrics": metrics.snapshot(),
        }


async def _withdraw(sign: beat.Beat) -> None:
    with contextlib.suppress(Unavailable):
        await sign.withdraw()


async def _end(tasks: list[asyncio.Task[None]], grace_s: float) -> None:
    """Let loops end by themselves; cancel those that do not."""
    _, pending = await asyncio.wait(tasks, timeout=grace_s)
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending, timeout=1.0)


def _utc_now() -> datetime:
    return datetime.now(UTC)
