"""The way of entries through a worker, put together: claimed, loaded, sent, recorded, settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from aiohttp import ClientSession

from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.providers.adapters import Adapters
from scheduler.services.budgets import observer
from scheduler.services.budgets.observer import Observer
from scheduler.services.budgets.parkings import Parkings
from scheduler.services.setup.catalog import Catalog
from scheduler.services.shards.recovery import Recovery
from scheduler.services.shards.refill import Refill
from scheduler.settings import Settings
from workers import learner, renewer
from workers.attempts import Attempts
from workers.circuit import Circuit
from workers.claim_size import ClaimSize
from workers.clocks import DatabaseClock, WallClock
from workers.committer import Committer
from workers.dispatcher import Dispatcher
from workers.duty import begin
from workers.holdings import Holdings
from workers.learner import Learner
from workers.living import Living
from workers.loading import Loading
from workers.parker import Parker
from workers.reclaimer import Reclaimer
from workers.refiller import Refiller
from workers.renewer import Renewer
from workers.reserves import Reserves
from workers.returns import Returns
from workers.wakes import Bell, Wakes

REFILLERS = 4


class Pipeline:
    """All that one process needs to run entries. live_shards: those to claim from; on_deliveries: the flush wrote
    callbacks."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        bell: Bell,
        recovery: Recovery,
        catalog: Catalog,
        calls: ClientSession,
        live_shards: Callable[[], Sequence[int]],
        holder: str,
        utc_now: Callable[[], datetime],
        on_deliveries: Callable[[], None],
    ) -> None:
        clock = time.monotonic
        wall, database_clock = WallClock(time.time(), clock()), DatabaseClock()
        self._renew_every_s = settings.renew_every_ms / 1000
        self.holdings = Holdings(settings.worker_concurrency)
        self._returns = Returns(engine, self.holdings, recovery, clock)
        self._renewer = Renewer(engine, self.holdings, recovery, holder, settings.lease_ms, clock)
        self.committer = Committer(
            store.outcomes, self.holdings, self._returns, self._renewer, database_clock, clock, wall, on_deliveries
        )
        self._learner = Learner(store.setup)
        self._observer = Observer(engine, store.setup, clock)
        parkings = Parkings(store.parkings, engine, timedelta(seconds=settings.park_s), utc_now)
        size = ClaimSize(settings.claim_size)
        self._attempts = Attempts(
            engine,
            Adapters(calls),
            self.holdings,
            self.committer,
            self._returns,
            Circuit(),
            self._learner,
            self._observer,
            Parker(parkings, clock),
            clock,
            wall,
            size.was_late,
        )
        loading = Loading(
            store,
            catalog,
            self.holdings,
            self.committer,
            self._returns,
            self._attempts,
            Reserves(engine, self._learner.likely),
            database_clock,
            clock,
            wall,
            allow_noop=settings.allow_noop,
        )
        self._wakes = Wakes(bell, live_shards, settings.safety_poll_s, clock)
        self._refiller = Refiller(Refill(store, engine, self._learner.likely), recovery)
        self._dispatcher = Dispatcher(
            settings,
            engine,
            bell,
            catalog,
            recovery,
            self.holdings,
            self.committer,
            loading,
            self._wakes,
            size,
            holder,
            clock,
            self._refiller.order,
        )
        self.living = Living(settings.lease_ms, clock)
        self._reclaimer = Reclaimer(
            engine, recovery, self.holdings, self.committer, live_shards, holder, settings.lease_ms, clock, self.living
        )

    def start_claiming(self, stop: asyncio.Event) -> list[asyncio.Task[None]]:
        """Bring in new entries until `stop`."""
        return [
            begin(0, lambda: self._dispatcher.run_once(stop), stop, name="dispatcher"),
            asyncio.create_task(self._wakes.listen(self.holdings.room, stop), name="wakes"),
        ]

    def start_tending(self, stop: asyncio.Event) -> list[asyncio.Task[None]]:
        """What new entries need, and what is learned from answers, until `stop`."""
        return [
            begin(learner.INTERVAL_S, self._learner.run_once, stop, name="learner"),
            begin(observer.INTERVAL_S, self._observer.run_once, stop, name="observer"),
            begin(observer.KEEP_S, self._observer.keep_once, stop, name="learned-limits"),
            begin(self._reclaimer.interval_s, self._reclaimer.run_once, stop, name="reclaimer"),
            *(begin(0, self._refiller.run_once, stop, name="refiller") for _ in range(REFILLERS)),
        ]

    def start_serving(self, late: asyncio.Event) -> list[asyncio.Task[None]]:
        """What entries in flight need: until `late`, after the drain."""
        return [
            begin(renewer.WATCH_S, self._renewer.watch_once, late, name="watch"),
            begin(0, self.committer.run_once, late, name="committer"),
            begin(self._renew_every_s, self._renewer.run_once, late, name="renewer"),
        ]

    def stop_claiming(self) -> None:
        """`stop` is set: whoever waits for a token or an order need not wait on."""
        self._wakes.interrupt()
        for _ in range(REFILLERS):
            self._refiller.stop_waiting()

    async def finish(self, drained_by_s: float) -> int:
        """What is claimed is sent, and calls in flight end until then (monotonic); the rest is given back. Answers how
        many those were."""
        await self._dispatcher.served()
        return await self._attempts.finish(max(0.0, drained_by_s - time.monotonic()))

    async def flush_out(self) -> None:
        """Everything that is decided is recorded and told. Raises Unavailable."""
        await self.committer.drained()
        await self._returns.empty()
