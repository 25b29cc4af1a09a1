"""The committer: outcomes become records in Postgres, and only then leases end and readers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from scheduler import metrics
from scheduler.domain.errors import Unavailable
from scheduler.domain.outcome import ItemOutcome, Recorded, Usage
from scheduler.domain.work import Doorbell, QueueRef
from scheduler.ports.outcomes import Flushed, OutcomeStore
from scheduler.providers.charging import charged_tokens
from scheduler.providers.profile import Profile
from scheduler.providers.profiles.generic import GENERIC
from workers.clocks import DatabaseClock, WallClock
from workers.decision import Record
from workers.duty import backoff_s
from workers.holdings import Held, Holdings
from workers.renewer import Renewer
from workers.returns import Returns, Settling

GATHER_S = 0.005
GATHERED = 100
"""A flush leaves after GATHER_S, or at once with this many outcomes."""
FLUSH = 256
"""Most outcomes of one flush; more only add latency."""
PATIENT_SKIPS = 3
"""An outcome whose batch was locked so often waits for the lock."""
STALE_TRIES = 3
"""A flush that Postgres carried out too late for its leases is repeated so often while they are still ours."""
TRIES = 5
"""Flushes of the same outcomes that may fail for another reason than an absent Postgres."""
BACKLOG = 4_000
BACKLOG_BYTES = 256 * 1024 * 1024
"""With this much waiting, `full` asks the dispatcher to claim nothing more."""

_log = structlog.get_logger(__name__)
_NO_USAGE = Usage(None, None)


@dataclass(slots=True, eq=False)
class Finished:
    """The end of an item's run, on its way to Postgres. *_s: monotonic seconds.

    account / model: the target that was called; profile: of its connection. started_s None: no call was made.
    """

    held: Held
    batch_id: UUID
    record: Record
    account: UUID | None
    model: str | None
    started_s: float | None
    ended_s: float
    profile: Profile = GENERIC
    skips: int = 0
    tries: int = 0
    stale: int = 0

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return len(self.record.success.body) if self.record.success else 0


@dataclass(frozen=True, slots=True)
class Committed:
    """What one flush did: outcomes by what became of them, and leases that were lost before it."""

    recorded: int = 0
    duplicate: int = 0
    stale: int = 0
    deferred: int = 0
    lost: int = 0


class Committer:
    """Gathers outcomes for a few ms and flushes them in one statement. Keeps them while Postgres is away."""

    def __init__(
        self,
        store: OutcomeStore,
        holdings: Holdings,
        returns: Returns,
        renewer: Renewer,
        database_clock: DatabaseClock,
        clock: Callable[[], float],
        wall: WallClock,
        on_deliveries: Callable[[], None],
    ) -> None:
        self._store = store
        self._holdings = holdings
        self._returns = returns
        self._renewer = renewer
        self._database_clock = database_clock
        self._clock = clock
        self._wall = wall
        self._on_deliveries = on_deliveries
        self._waiting: list[Finished] = []
        self._patient: list[Finished] = []
        self._bytes = 0
        self._first = asyncio.Event()
        self._many = asyncio.Event()
        self._failures = 0
        self._drained = asyncio.Event()
        self._drained.set()

    def put(self, finished: Finished) -> None:
        """Record this outcome soon. Frees its slot: the attempt is over."""
        self._holdings.free_slot(finished.held)
        self._drained.clear()
        self._waiting.append(finished)
        self._bytes += finished.size
        self._first.set()
        if len(self._waiting) >= GATHERED:
            self._many.set()

    @property
    def full(self) -> bool:
        """Too much waits to claim more."""
        return len(self._waiting) >= BACKLOG or self._bytes >= BACKLOG_BYTES

    def __len__(self) -> int:
        return len(self._waiting) + len(self._patient)

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is being flushed."""
        await self._drained.wait()

    def stop_waiting(self) -> None:
        """Let run_once return although nothing came (the process ends)."""
        self._first.set()
        self._many.set()

    async def run_once(self) -> Committed:
        """Wait for outcomes, gather, flush, settle. Raises nothing that would end the duty."""
        if not self._waiting and not self._patient:
            await self._first.wait()
        self._first.clear()
        await self._gather()
        patient = bool(self._patient)
        source = self._patient if patient else self._waiting
        taken = source[:FLUSH]
        del source[:FLUSH]
        if len(self._waiting) < GATHERED:
            self._many.clear()
        if self._waiting or self._patient:
            self._first.set()
        if not taken:
            return Committed()
        try:
            return await self._commit(taken, wait_for_locks=patient)
        except Exception:
            # A lease that is kept without being worked on would be renewed for ever: let it expire.
            for finished in taken:
                self._holdings.drop(finished.held)
                self._bytes -= finished.size
            raise
        finally:
            metrics.UNFLUSHED.set(len(self))
            if not len(self):
                self._drained.set()

    async def _gather(self) -> None:
        if len(self._waiting) >= GATHERED or self._patient:
            return
        try:
            async with asyncio.timeout(GATHER_S):
                await self._many.wait()
        except TimeoutError:
            return

    async def _commit(self, taken: list[Finished], *, wait_for_locks: bool) -> Committed:
        try:
            kept = await self._still_ours(taken)
        except Unavailable:
            return await self._again(taken, wait_for_locks)
        lost = len(taken) - len(kept)
        unsure = [f for f in kept if f.held.deadline_s <= self._clock()]
        if unsure:
            # Neither prolonged nor lost: their shard is being recovered, and Postgres would refuse them now.
            kept = [f for f in kept if f.held.deadline_s > self._clock()]
            await self._again(unsure, wait_for_locks)
        if not kept:
            return Committed(lost=lost)
        started_s = self._clock()
        try:
            flushed = await self._store.flush([self._outcome(f) for f in kept], wait_for_locks=wait_for_locks)
        except Unavailable:
            return await self._again(kept, wait_for_locks)
        except Exception:
            _log.exception("flush.failed", outcomes=len(kept))
            return await self._again(self._worth_another_try(kept), wait_for_locks)
        self._failures = 0
        metrics.FLUSH_OUTCOMES.observe(len(kept))
        metrics.FLUSH_MS.observe((self._clock() - started_s) * 1000)
        return self._conclude(kept, flushed, lost)

    async def _still_ours(self, taken: list[Finished]) -> list[Finished]:
        """Without those whose lease was lost; one past its own deadline is renewed before it is committed."""
        overdue = [f.held for f in taken if not f.held.lost and f.held.deadline_s <= self._clock()]
        if overdue:
            await self._renewer.renew(overdue)
        kept = [f for f in taken if not f.held.lost]
        if len(kept) != len(taken):
            for finished in taken:
                if finished.held.lost:
                    self._bytes -= finished.size
                    self._holdings.drop(finished.held)
            _log.info("outcomes.discarded", why="lease lost", count=len(taken) - len(kept))
        return kept

    async def _again(self, outcomes: list[Finished], wait_for_locks: bool) -> Committed:
        """Keep them for the next flush, after a pause that grows."""
        (self._patient if wait_for_locks else self._waiting)[:0] = outcomes
        self._failures += 1
        if outcomes:
            self._first.set()
        if self._failures == 1:
            _log.warning("flush.waiting", outcomes=len(self))
        await asyncio.sleep(backoff_s(self._failures))
        return Committed()

    def _worth_another_try(self, outcomes: list[Finished]) -> list[Finished]:
        """After TRIES the outcomes are let go: their leases expire, and the items run again."""
        kept: list[Finished] = []
        for finished in outcomes:
            finished.tries += 1
            if finished.tries < TRIES:
                kept.append(finished)
            else:
                self._bytes -= finished.size
                self._holdings.drop(finished.held)
        return kept

    def _outcome(self, finished: Finished) -> ItemOutcome:
        held, record, entry = finished.held, finished.record, finished.held.lease.entry
        success, refusal = record.success, record.refusal
        usage = success.usage if success else _NO_USAGE
        return ItemOutcome(
            batch_id=finished.batch_id,
            seq=entry.position,
            run=entry.run,
            status=record.status,
            error_code=record.error_code,
            error_message=record.error_message,
            response=success.body if success else refusal.body if refusal else None,
            response_headers=success.headers if success else None,
            prompt_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            retry_count=entry.attempts,
            connection_id=finished.account,
            model=finished.model,
            started_at=self._time(finished.started_s),
            completed_at=self._wall.at(finished.ended_s),
            valid_until=self._database_clock.at(held.deadline_s),
            http_status=refusal.status if refusal else None,
        )

    def _time(self, moment_s: float | None) -> datetime | None:
        return None if moment_s is None else self._wall.at(moment_s)

    def _conclude(self, outcomes: Sequence[Finished], flushed: Flushed, lost: int) -> Committed:
        """Settle what is recorded, ring, and keep what was deferred."""
        settlings: dict[int, list[Settling]] = {}
        addresses: dict[UUID, tuple[int, QueueRef]] = {}
        counts = dict.fromkeys(Recorded, 0)
        for finished, became in zip(outcomes, flushed.recorded, strict=True):
            counts[became] += 1
            held = finished.held
            if self._stays(finished, became):
                self._first.set()
                continue
            self._bytes -= finished.size
            if became is Recorded.STALE:
                self._holdings.drop(held)
                continue
            addresses[finished.batch_id] = (held.shard, held.lease.ref.flow.queue)
            settlings.setdefault(held.shard, []).append(_settling(finished))
        for became, count in counts.items():
            if count:
                metrics.OUTCOMES.labels(became.value).inc(count)
        _tell_of_ends(flushed)
        doorbells: dict[int, list[Doorbell]] = {}
        for batch in flushed.batches:
            if batch.batch_id in addresses:
                shard, queue = addresses[batch.batch_id]
                doorbells.setdefault(shard, []).append(Doorbell(queue, str(batch.batch_id), batch.last_event))
        for shard in settlings.keys() | doorbells.keys():
            self._returns.settle(shard, settlings.get(shard, ()), doorbells.get(shard, ()))
        if flushed.deliveries:
            self._on_deliveries()
        return Committed(
            recorded=counts[Recorded.RECORDED],
            duplicate=counts[Recorded.DUPLICATE],
            stale=counts[Recorded.STALE],
            deferred=counts[Recorded.DEFERRED],
            lost=lost,
        )

    def _stays(self, finished: Finished, became: Recorded) -> bool:
        """Keep for another flush what was skipped, and what came too late for a lease that may still be ours."""
        if became is Recorded.DEFERRED:
            finished.skips += 1
            (self._patient if finished.skips >= PATIENT_SKIPS else self._waiting).append(finished)
            return True
        if became is Recorded.STALE and not finished.held.lost and finished.stale < STALE_TRIES:
            finished.stale += 1
            finished.held.deadline_s = min(finished.held.deadline_s, self._clock())  # to be renewed first
            self._waiting.append(finished)
            return True
        return False


def _tell_of_ends(flushed: Flushed) -> None:
    for batch in flushed.batches:
        if batch.ended:
            _log.info("batch.ended", batch_id=str(batch.batch_id))


def _settling(finished: Finished) -> Settling:
    """The end of a lease, charged as the profile of its connection says."""
    entry, success = finished.held.lease.entry, finished.record.success
    usage = success.usage if success else None
    return Settling(finished.held, *charged_tokens(finished.profile, entry.in_tokens, entry.out_tokens, usage))
