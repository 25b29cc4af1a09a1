"""A worker: all duties of one process, put together, started, drained."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from aiohttp import ClientSession

from scheduler import metrics
from scheduler.domain.errors import Unavailable
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.providers.adapters import Adapters
from scheduler.providers.wire import open_session
from scheduler.services.budgets.observer import INTERVAL_S as OBSERVE_S
from scheduler.services.budgets.observer import KEEP_S, Observer
from scheduler.services.budgets.parkings import Parkings
from scheduler.services.callers.secrets import Vault
from scheduler.services.files.files import Files
from scheduler.services.setup.catalog import Catalog
from scheduler.services.shards.recovery import Recovery
from scheduler.services.shards.refill import Refill
from scheduler.settings import Settings
from workers import beat, expirer, filekeeper, pruner, secretkeeper, shards, urger
from workers.attempts import Attempts
from workers.callbacks import open_callback_session
from workers.canceller import Canceller
from workers.checkpointer import INTERVAL_S as CHECKPOINT_S
from workers.checkpointer import Checkpointer
from workers.circuit import Circuit
from workers.clocks import DatabaseClock, WallClock
from workers.committer import Committer
from workers.delivery_leases import DeliveryLeases
from workers.dispatcher import Dispatcher
from workers.duty import every
from workers.holdings import Holdings
from workers.learner import INTERVAL_S as LEARN_S
from workers.learner import Learner
from workers.loading import Loading
from workers.parcels import Parcels
from workers.parker import Parker
from workers.reclaimer import Reclaimer
from workers.reconciler import Reconciler
from workers.refiller import Refiller
from workers.renewer import WATCH_S, Renewer
from workers.returns import Returns
from workers.sealer import INTERVAL_S as SEAL_S
from workers.sealer import Sealer
from workers.sender import Sender
from workers.submissions import Submissions
from workers.wakes import Bell, Wakes

CANCEL_S = 0.5
"""Between two looks for cancelled batches: what a caller waits for `batch-cancelled` beside its running
items."""
REFILLERS = 4
CLAIM_GRACE_S = 3.0
"""For claims on their way when the drain begins; a wait for a token is shorter."""
COMMIT_GRACE_S = 4.0
"""After the drain: for outcomes, settlements and callbacks on their way."""

_log = structlog.get_logger(__name__)


def new_holder() -> str:
    """A name for this process that no other has or had: leases and signs of life carry it."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class _Duties:
    """All parts of one worker, by name."""

    live: shards.LiveShards
    holdings: Holdings
    returns: Returns
    renewer: Renewer
    committer: Committer
    wakes: Wakes
    refiller: Refiller
    dispatcher: Dispatcher
    attempts: Attempts
    sender: Sender
    delivery_leases: DeliveryLeases
    reclaimer: Reclaimer
    canceller: Canceller
    reconciler: Reconciler
    expirer: expirer.Expirer
    urger: urger.Urger
    sealer: Sealer
    checkpointer: Checkpointer
    learner: Learner
    observer: Observer
    keeper: filekeeper.FileKeeper
    submissions: Submissions
    pruner: pruner.Pruner
    secretkeeper: secretkeeper.Secretkeeper
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

    def _assemble(self, calls: ClientSession, callbacks: Any) -> _Duties:
        settings, store, engine, clock = self._settings, self._store, self._engine, time.monotonic
        wall, database_clock = WallClock(time.time(), clock()), DatabaseClock()
        live = shards.LiveShards(store.shards, self._recovery)
        catalog = Catalog(store.setup, self._vault, clock)
        holdings = Holdings(settings.worker_concurrency)
        returns = Returns(engine, holdings, self._recovery, clock)
        renewer = Renewer(engine, holdings, self._recovery, self.holder, settings.lease_ms, clock)
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
        committer = Committer(store.outcomes, holdings, returns, renewer, database_clock, clock, wall, sender.wake)
        wakes = Wakes(self._bell, live, settings.safety_poll_s, clock)
        learner = Learner(store.setup)
        refiller = Refiller(Refill(store, engine, learner.likely), self._recovery)
        observer = Observer(engine, store.setup, clock)
        parker = Parker(Parkings(store.parkings, engine, timedelta(seconds=settings.park_s), _utc_now), clock)
        dispatcher: Dispatcher

        def was_late() -> None:
            dispatcher.was_late()

        attempts = Attempts(
            engine,
            Adapters(calls),
            holdings,
            committer,
            returns,
            Circuit(),
            learner,
            observer,
            parker,
            clock,
            wall,
            was_late,
        )
        loading = Loading(
            store,
            catalog,
            holdings,
            committer,
            returns,
            attempts,
            database_clock,
            clock,
            wall,
            allow_noop=settings.allow_noop,
        )
        dispatcher = Dispatcher(
            settings,
            engine,
            self._bell,
            catalog,
            self._recovery,
            holdings,
            committer,
            loading,
            wakes,
            self.holder,
            clock,
            refiller.order,
        )
        return _Duties(
            live=live,
            holdings=holdings,
            returns=returns,
            renewer=renewer,
            committer=committer,
            wakes=wakes,
            refiller=refiller,
            dispatcher=dispatcher,
            attempts=attempts,
            sender=sender,
            delivery_leases=delivery_leases,
            reclaimer=Reclaimer(
                engine, self._recovery, holdings, committer, live, self.holder, settings.lease_ms, clock
            ),
            canceller=Canceller(store, engine, self._recovery, _utc_now, sender.wake),
            reconciler=Reconciler(store, engine, self._recovery, live, _utc_now),
            expirer=expirer.Expirer(store, engine, self._recovery, _utc_now, sender.wake),
            urger=urger.Urger(store, engine, self._recovery, live, _utc_now),
            sealer=Sealer(store, engine, self._recovery, settings.window_entries, settings.upload_silence_s),
            checkpointer=Checkpointer(store.quotas, engine, live),
            learner=learner,
            observer=observer,
            keeper=filekeeper.FileKeeper(self._files, _utc_now),
            submissions=Submissions(
                settings, store, engine, self._recovery, self._files, catalog, calls, self.holder, sender.wake
            ),
            pruner=pruner.Pruner(store.shards, store.retention, settings.retention_days, _utc_now),
            secretkeeper=secretkeeper.Secretkeeper(store.callback_secrets, store.shards, self._vault),
            beat=beat.Beat(store.shards, self.holder, lambda: self._info(holdings, committer)),
        )

    async def _run(self, d: _Duties, stop: asyncio.Event) -> None:
        settings = self._settings
        late = asyncio.Event()  # for duties that serve what is in flight: they outlive `stop`
        claiming = [
            asyncio.create_task(every(0, lambda: d.dispatcher.run_once(stop), stop, name="dispatcher")),
            asyncio.create_task(d.wakes.listen(d.holdings.room, stop)),
        ]
        slow = [
            asyncio.create_task(every(shards.INTERVAL_S, d.live.run_once, stop, name="shards")),
            asyncio.create_task(every(CANCEL_S, d.canceller.run_once, stop, name="canceller")),
            asyncio.create_task(every(settings.reconcile_s, d.reconciler.run_once, stop, name="reconciler")),
            asyncio.create_task(every(expirer.INTERVAL_S, d.expirer.run_once, stop, name="expirer")),
            asyncio.create_task(every(urger.INTERVAL_S, d.urger.run_once, stop, name="urger")),
            asyncio.create_task(every(SEAL_S, d.sealer.run_once, stop, name="sealer")),
            asyncio.create_task(every(CHECKPOINT_S, d.checkpointer.run_once, stop, name="checkpointer")),
            asyncio.create_task(every(LEARN_S, d.learner.run_once, stop, name="learner")),
            asyncio.create_task(every(OBSERVE_S, d.observer.run_once, stop, name="observer")),
            asyncio.create_task(every(KEEP_S, d.observer.keep_once, stop, name="learned-limits")),
            asyncio.create_task(every(filekeeper.INTERVAL_S, d.keeper.run_once, stop, name="filekeeper")),
            asyncio.create_task(every(pruner.INTERVAL_S, d.pruner.run_once, stop, name="pruner")),
            asyncio.create_task(every(secretkeeper.INTERVAL_S, d.secretkeeper.run_once, stop, name="secretkeeper")),
            asyncio.create_task(every(d.reclaimer.interval_s, d.reclaimer.run_once, stop, name="reclaimer")),
            asyncio.create_task(every(0, d.sender.run_once, stop, name="sender")),
            *d.submissions.start(stop),
            *(asyncio.create_task(every(0, d.refiller.run_once, stop, name="refiller")) for _ in range(REFILLERS)),
        ]
        serving = [
            asyncio.create_task(every(WATCH_S, d.renewer.watch_once, late, name="watch")),
            asyncio.create_task(every(0, d.committer.run_once, late, name="committer")),
            asyncio.create_task(every(settings.renew_every_ms / 1000, d.renewer.run_once, late, name="renewer")),
            asyncio.create_task(every(0, d.sender.record_once, late, name="delivery-records")),
            asyncio.create_task(
                every(settings.renew_every_ms / 1000, d.delivery_leases.run_once, late, name="delivery-leases")
            ),
            asyncio.create_task(every(beat.INTERVAL_S, d.beat.run_once, late, name="beat")),
        ]
        _log.info("worker.started", holder=self.holder, concurrency=settings.worker_concurrency)
        await stop.wait()
        drained_by_s = time.monotonic() + settings.drain_s
        _log.info("worker.draining", in_flight=d.holdings.in_flight)
        d.wakes.interrupt()
        d.sender.stop_waiting()
        for _ in range(REFILLERS):
            d.refiller.stop_waiting()
        await _end(claiming, CLAIM_GRACE_S)
        await d.dispatcher.served()
        given_back = await d.attempts.finish(max(0.0, drained_by_s - time.monotonic()))
        await self._flush_out(d)
        late.set()
        d.committer.stop_waiting()
        d.sender.stop_waiting()
        await _end([*slow, *serving], 2.0)
        await d.submissions.close()
        _log.info("worker.stopped", given_back=given_back, leases_left=len(d.holdings))

    async def _flush_out(self, d: _Duties) -> None:
        """Everything that is decided is recorded and told, as far as the stores answer in time."""
        try:
            async with asyncio.timeout(COMMIT_GRACE_S):
                await d.committer.drained()
                await d.returns.empty()
                await d.sender.finish(COMMIT_GRACE_S / 2)
        except (TimeoutError, Unavailable):
            _log.warning("worker.drain_cut_short", outcomes=len(d.committer), leases=len(d.holdings))

    def _info(self, holdings: Holdings, committer: Committer) -> Mapping[str, Any]:
        holdings.observe()
        return {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "startedAt": self._started_at.isoformat(),
            "concurrency": self._settings.worker_concurrency,
            "inFlight": holdings.in_flight,
            "leases": len(holdings),
            "unflushed": len(committer),
            "metrics": metrics.snapshot(),
        }


async def _end(tasks: list[asyncio.Task[None]], grace_s: float) -> None:
    """Let loops end by themselves; cancel those that do not."""
    _, pending = await asyncio.wait(tasks, timeout=grace_s)
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending, timeout=1.0)


def _utc_now() -> datetime:
    return datetime.now(UTC)
