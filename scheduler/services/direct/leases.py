"""The leases of direct calls in this process: kept alive while the call runs, ended when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from scheduler import metrics
from scheduler.domain.errors import Unavailable
from scheduler.domain.work import Lease, Refund, Release, Settlement
from scheduler.ports.engine import Engine
from scheduler.providers.call import Departure
from scheduler.services.shards.access import Shards

MOST_AT_ONCE = 128
AGAIN_S = 0.2
"""Between two tries to reach an engine that is away."""

_log = structlog.get_logger(__name__)


class HeldCall(Departure):
    """One lease of a direct call. Times are monotonic seconds; the lease holds at least until deadline_s. lost: the
    engine gave its place to others; the call runs on all the same, it cannot be taken back."""

    __slots__ = ("deadline_s", "lease", "lost", "shard")

    def __init__(self, shard: int, lease: Lease, deadline_s: float, send_by_s: float) -> None:
        super().__init__(send_by_s)
        self.shard = shard
        self.lease = lease
        self.deadline_s = deadline_s
        self.lost = False

    def sent_ago_ms(self, now_s: float) -> int | None:
        """How long ago the call left; None when it never did."""
        return None if self.sent_s is None else max(0, round((now_s - self.sent_s) * 1000))


@dataclass(frozen=True, slots=True)
class _Charged:
    held: HeldCall
    in_tokens: int
    out_tokens: int


@dataclass(frozen=True, slots=True)
class _GivenUp:
    held: HeldCall
    refund: Refund


class DirectLeases:
    """Ends of calls are noted at once, without waiting, so that also a call that is being cancelled can; a task tells
    the engine. A process that dies leaves leases that are reclaimed."""

    def __init__(self, engine: Engine, shards: Shards, lease_ms: int, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._shards = shards
        self._lease_ms = lease_ms
        self._clock = clock
        self._held: set[HeldCall] = set()
        self._ended: list[_Charged | _GivenUp] = []
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def hold(self, held: HeldCall) -> None:
        """Keep this lease alive until it is ended. Starts the tasks that do so, inside the running loop."""
        self._held.add(held)
        metrics.DIRECT_IN_FLIGHT.set(len(self._held))
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._end_loop()), asyncio.create_task(self._renew_loop())]

    def charge(self, held: HeldCall, in_tokens: int, out_tokens: int) -> None:
        """The call was answered and cost so much."""
        self._end(_Charged(held, in_tokens, out_tokens))

    def give_up(self, held: HeldCall, refund: Refund) -> None:
        """The call brought nothing: it failed, was cancelled or never left."""
        self._end(_GivenUp(held, refund))

    def _end(self, end: _Charged | _GivenUp) -> None:
        if end.held not in self._held:
            return
        self._held.remove(end.held)
        metrics.DIRECT_IN_FLIGHT.set(len(self._held))
        self._ended.append(end)
        self._idle.clear()
        self._news.set()

    async def close(self, grace_s: float = 2.0) -> None:
        """Tell the engine of all ends, as far as it answers in time, and stop."""
        self._stopping = True
        self._news.set()
        if not self._tasks:
            return
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("direct.leases_left", leases=len(self._ended))
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=1.0)

    async def _end_loop(self) -> None:
        while not self._stopping or self._ended:
            await self._news.wait()
            self._news.clear()
            while self._ended:
                shard = self._ended[0].held.shard
                taken = [end for end in self._ended if end.held.shard == shard][:MOST_AT_ONCE]
                try:
                    await self._tell(shard, taken)
                except Unavailable:
                    now_s = self._clock()
                    self._ended = [end for end in self._ended if end.held.deadline_s > now_s]
                    await asyncio.sleep(AGAIN_S)
                    continue
                except Exception:
                    # Their leases expire; the loop must live on for the others.
                    _log.exception("direct.ends_lost", leases=len(taken))
                self._ended = [end for end in self._ended if end not in taken]
            self._idle.set()

    async def _tell(self, shard: int, ends: list[_Charged | _GivenUp]) -> None:
        now_s = self._clock()
        charged = [e for e in ends if isinstance(e, _Charged)]
        given_up = [e for e in ends if isinstance(e, _GivenUp)]
        if charged:
            settlements = [
                Settlement(e.held.lease.ref, e.in_tokens, e.out_tokens, e.held.sent_ago_ms(now_s)) for e in charged
            ]
            await self._shards.run(shard, lambda: self._engine.settle(shard, settlements))
        if given_up:
            releases = [
                Release(e.held.lease.ref, 0, False, e.refund, e.held.sent_ago_ms(now_s), e.held.lease.target)
                for e in given_up
            ]
            await self._shards.run(shard, lambda: self._engine.release(shard, releases))

    async def _renew_loop(self) -> None:
        while not self._stopping:
            await asyncio.sleep(self._lease_ms / 4000)
            by_shard: dict[int, list[HeldCall]] = {}
            for held in self._held:
                if not held.lost:
                    by_shard.setdefault(held.shard, []).append(held)
            for shard, helds in by_shard.items():
                for start in range(0, len(helds), MOST_AT_ONCE):
                    await self._renew(shard, helds[start : start + MOST_AT_ONCE])

    async def _renew(self, shard: int, helds: list[HeldCall]) -> None:
        now_s = self._clock()
        leases = [(held.lease.ref, held.sent_ago_ms(now_s)) for held in helds]
        try:
            lost = await self._shards.run(shard, lambda: self._engine.renew(shard, self._lease_ms, leases))
        except Unavailable:
            return
        except Exception:
            _log.exception("direct.renewal_failed", leases=len(helds))
            return
        for held in helds:
            held.lost = held.lease.ref in lost
            held.deadline_s = now_s + self._lease_ms / 1000
