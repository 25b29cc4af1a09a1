"""Direct calls on their way to their lease: they ask the engine, and wait in its line until they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from scheduler.domain.direct import Admission, Admitted, DirectAsk, Waits
from scheduler.domain.errors import Unavailable
from scheduler.domain.work import Refund, Release
from scheduler.ports.engine import Engine
from scheduler.services.direct.leases import HeldCall
from scheduler.services.shards.access import Shards

LISTEN_S = 1.0
"""One wait for news of the engine; then it is seen whether anybody still waits."""
AGAIN_S = 0.2
ASK_MARGIN_MS = 1

_log = structlog.get_logger(__name__)


class Grants(Protocol):
    """Where the engine names tickets that it admitted while they waited."""

    async def wait(self, shard: int, holder: str, timeout_s: float) -> str | None:
        """The next ticket; None after timeout_s. Raises Unavailable."""
        ...


class DirectLine:
    """Asks, waits, asks again: when the engine says that a place is free, or when it said that one would be."""

    def __init__(
        self,
        engine: Engine,
        grants: Grants,
        shards: Shards,
        holder: str,
        lease_ms: int,
        start_by_ms: int,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._grants = grants
        self._shards = shards
        self._holder = holder
        self._lease_ms = lease_ms
        self._start_by_ms = start_by_ms
        self._clock = clock
        self._told: dict[int, dict[str, asyncio.Event]] = {}
        self._listeners: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def enter(self, shard: int, ask: DirectAsk, wait_s: float) -> HeldCall | Admission:
        """The lease of the call, or why it gets none within wait_s: Refused, Exceeds or Undefined. Raises
        Unavailable. Cancelled, it leaves the line."""
        until_s = self._clock() + wait_s
        told = asyncio.Event()
        waiting = True
        try:
            while True:
                told.clear()
                issued_s = self._clock()
                left_ms = max(0, round((until_s - issued_s) * 1000))
                answer = await self._ask(shard, ask, left_ms)
                if isinstance(answer, Admitted):
                    waiting = False
                    return self._held(shard, answer, issued_s)
                if not isinstance(answer, Waits):
                    waiting = False
                    return answer
                self._listen(shard, ask.ticket, told)
                await _until(told, (min(answer.ask_ms, left_ms) + ASK_MARGIN_MS) / 1000)
        finally:
            self._told.get(shard, {}).pop(ask.ticket, None)
            if waiting:  # cancelled, or the engine is away: whatever it granted meanwhile goes back
                task = asyncio.create_task(self._leave(shard, ask))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Stop listening. Nobody may enter any more."""
        self._told.clear()
        tasks = [*self._listeners.values(), *self._leaving]
        if tasks:
            await asyncio.wait(tasks, timeout=LISTEN_S + 0.5)

    async def _ask(self, shard: int, ask: DirectAsk, wait_ms: int) -> Admission:
        return await self._shards.run(
            shard,
            lambda: self._engine.admit(shard, ask, holder=self._holder, lease_ms=self._lease_ms, wait_ms=wait_ms),
        )

    def _held(self, shard: int, admitted: Admitted, issued_s: float) -> HeldCall:
        made_s = issued_s - admitted.age_ms / 1000
        return HeldCall(shard, admitted.lease, made_s + self._lease_ms / 1000, made_s + self._start_by_ms / 1000)

    async def _leave(self, shard: int, ask: DirectAsk) -> None:
        try:
            answer = await self._ask(shard, ask, -1)
            if isinstance(answer, Admitted):
                back = Release(answer.lease.ref, 0, False, Refund.ALL, None, answer.lease.target)
                await self._shards.run(shard, lambda: self._engine.release(shard, [back]))
        except Unavailable:
            return  # the ticket and what it may have been granted expire by themselves

    def _listen(self, shard: int, ticket: str, told: asyncio.Event) -> None:
        self._told.setdefault(shard, {})[ticket] = told
        if shard not in self._listeners:
            task = asyncio.create_task(self._listener(shard), name=f"direct-grants-{shard}")
            self._listeners[shard] = task

    async def _listener(self, shard: int) -> None:
        try:
            while self._told.get(shard):
                try:
                    ticket = await self._grants.wait(shard, self._holder, LISTEN_S)
                except Unavailable:
                    await asyncio.sleep(AGAIN_S)
                    continue
                told = self._told.get(shard, {}).get(ticket or "")
                if told is not None:
                    told.set()
        except Exception:
            # Those that wait ask again by themselves when they were told that a place would be free.
            _log.exception("direct.listener_failed", shard=shard)
        finally:
            del self._listeners[shard]


async def _until(told: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await told.wait()
    except TimeoutError:
        return
