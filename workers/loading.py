"""From claimed leases to calls: one query for their requests, a decision for each, and off they go."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog

from scheduler import metrics
from scheduler.domain.errors import Unavailable
from scheduler.domain.setup import Provider
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.ports.items import Loaded
from scheduler.ports.store import Store
from scheduler.services.setup.catalog import Catalog
from workers.attempts import Attempts, Job
from workers.clocks import DatabaseClock, WallClock
from workers.committer import Committer, Finished
from workers.decision import Record
from workers.duty import backoff_s, pause
from workers.holdings import Held, Holdings, is_suspect
from workers.reserves import Reserves
from workers.returns import Returning, Returns, Settling
from workers.triage import Drop, Lessen, MoveOn, Send, Settle, triage, uuid_of

STORE_AWAY_MS = 500
"""Entries whose requests could not be loaded come back after this."""
UNUSABLE_MS = 10_000
"""Entries of a connection that cannot be used here (its key cannot be opened) come back after this."""
BATCHES_REMEMBERED = 10_000

_log = structlog.get_logger(__name__)


class Loading:
    """Serves what one claim brought."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        holdings: Holdings,
        committer: Committer,
        returns: Returns,
        attempts: Attempts,
        reserves: Reserves,
        database_clock: DatabaseClock,
        clock: Callable[[], float],
        wall: WallClock,
        *,
        allow_noop: bool,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._holdings = holdings
        self._committer = committer
        self._returns = returns
        self._attempts = attempts
        self._reserves = reserves
        self._database_clock = database_clock
        self._clock = clock
        self._wall = wall
        self._allow_noop = allow_noop
        self._marked: set[UUID] = set()
        self._marked_order: deque[UUID] = deque()
        self._aside: set[asyncio.Task[None]] = set()
        self._store_away = False

    async def store_is_back(self, shard: int, stop: asyncio.Event) -> None:
        """After a load that failed: wait until Postgres answers again, or `stop`. Otherwise returns at once."""
        failures = 0
        while self._store_away and not stop.is_set():
            try:
                await self._store.shards.epoch(shard)
                self._store_away = False
            except Unavailable:
                failures += 1
                await pause(backoff_s(failures), stop)

    async def serve(self, shard: int, helds: Sequence[Held]) -> None:
        """Start every call that is to be made; nothing of the claim is left without an end. Raises
        nothing."""
        try:
            loaded = await self._load(shard, helds)
        except Unavailable:
            self._store_away = True
            self._returns.hand_back(helds, STORE_AWAY_MS)
            return
        except Exception:
            _log.exception("load.failed", shard=shard, claimed=len(helds))
            self._returns.hand_back(helds, STORE_AWAY_MS)
            return
        jobs = [job for job in (self._sort_out_safely(held, loaded) for held in helds) if job is not None]
        if not jobs:
            return
        self._mark_running(jobs)
        self._reserves.correct(shard, ((job.held, job.item) for job in jobs))
        suspects = [job for job in jobs if is_suspect(job.held)]
        await self._start([job for job in jobs if not is_suspect(job.held)] if suspects else jobs)
        if suspects and await self._note_crashes(suspects):
            await self._start(suspects)

    async def _load(self, shard: int, helds: Sequence[Held]) -> Loaded:
        claimed = [
            (uuid_of(held.lease.ref.flow.batch_id), held.lease.ref.position, held.lease.entry.run) for held in helds
        ]
        loaded = await self._store.items.load(shard, claimed)
        self._database_clock.observe(loaded.database_now, self._clock())
        if any(self._catalog.resource(_resource_of(held)) is None for held in helds):
            await self._catalog.refresh(max_age_s=0)
        return loaded

    def _sort_out_safely(self, held: Held, loaded: Loaded) -> Job | None:
        try:
            return self._sort_out(held, loaded)
        except Exception:
            _log.exception("claim.unreadable", batch_id=held.lease.ref.flow.batch_id, seq=held.lease.ref.position)
            self._returns.hand_back([held], UNUSABLE_MS)
            return None

    def _sort_out(self, held: Held, loaded: Loaded) -> Job | None:
        """The call to make for a lease; None when it was dealt with otherwise."""
        served = self._catalog.resource(_resource_of(held))
        step = triage(held.lease, loaded, served.resource if served else None)
        match step:
            case Send():
                account = self._catalog.account(step.target.connection_id)
                if account is None:
                    self._returns.hand_back([held], UNUSABLE_MS)
                elif account.provider is Provider.NOOP and not self._allow_noop:
                    self._record(held, _noop_refused())
                elif served is not None:
                    return Job(held, step.item, served.resource, account, step.target.model, served.default_args)
            case Drop():
                # Given back all the same: a Redis that came back with its data still holds the lease.
                self._returns.hand_back([held])
            case Settle():
                self._holdings.free_slot(held)
                self._returns.settle(held.shard, [Settling(held, 0, 0)])
            case Lessen():
                target = held.lease.entry.target
                self._returns.give_back(Returning(held, 0, False, target, out_tokens=step.out_tokens))
            case MoveOn():
                self._returns.give_back(Returning(held, 0, False, step.target))
            case Record():
                self._record(held, step)
        return None

    def _record(self, held: Held, record: Record) -> None:
        """An end without a call."""
        batch_id = uuid_of(held.lease.ref.flow.batch_id)
        self._committer.put(Finished(held, batch_id, record, None, None, None, self._clock()))

    def _mark_running(self, jobs: Sequence[Job]) -> None:
        """PENDING batches become RUNNING, once, beside their first calls: those need not wait for it."""
        pending = {
            job.item.batch_id
            for job in jobs
            if job.item.batch_status is BatchStatus.PENDING and job.item.batch_id not in self._marked
        }
        if not pending:
            return
        self._marked |= pending
        self._marked_order.extend(pending)
        while len(self._marked_order) > BATCHES_REMEMBERED:
            self._marked.discard(self._marked_order.popleft())
        self._beside(self._store.batches.mark_running(sorted(pending)), pending)

    def _beside(self, work: Coroutine[Any, Any, None], pending: set[UUID]) -> None:
        async def run() -> None:
            try:
                await work
            except Unavailable:
                self._marked -= pending  # the next claim tries again

        task = asyncio.create_task(run())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _start(self, jobs: Sequence[Job]) -> None:
        """Calls whose batches want "running" callbacks leave when those are stored, all others now."""
        announced: list[Job] = []
        answered = 0
        for job in jobs:
            if job.item.wants_item_callbacks and job.held.lease.entry.attempts == 0:
                announced.append(job)
            elif job.account.provider is Provider.NOOP:
                self._attempts.answer_noop(job)
                answered += 1
            else:
                self._attempts.start(job)
        if answered:
            metrics.ATTEMPTS.labels("succeeded").inc(answered)
        if announced and await self._announce(announced):
            await self._start([_announced(job) for job in announced])

    async def _note_crashes(self, jobs: Sequence[Job]) -> bool:
        """Before suspects run once more Postgres learns of what they did, lest a loss of Redis makes them innocent."""
        noted = [(job.item.batch_id, job.item.seq, job.item.run, job.held.lease.entry.crashes) for job in jobs]
        try:
            await self._store.items.note_crashes(noted)
        except Exception as problem:
            if not isinstance(problem, Unavailable):
                _log.exception("crashes.not_noted", items=len(noted))
            self._returns.hand_back([job.held for job in jobs], STORE_AWAY_MS)
            return False
        return True

    async def _announce(self, jobs: Sequence[Job]) -> bool:
        items = [(job.item.batch_id, job.item.seq, job.item.run) for job in jobs]
        try:
            await self._store.deliveries.add_running(items, self._wall.at(self._clock()))
        except Exception as problem:
            if not isinstance(problem, Unavailable):
                _log.exception("announcement.failed", items=len(items))
            self._returns.hand_back([job.held for job in jobs], STORE_AWAY_MS)
            return False
        return True


def _announced(job: Job) -> Job:
    return replace(job, item=replace(job.item, wants_item_callbacks=False))


def _resource_of(held: Held) -> UUID:
    return uuid_of(held.lease.ref.flow.queue.resource_id)


def _noop_refused() -> Record:
    return Record(
        ItemStatus.FAILED,
        error_code="NOOP_NOT_ALLOWED",
        error_message="Connections of provider noop are switched off here (BRIM_ALLOW_NOOP).",
    )
