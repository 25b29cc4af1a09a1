"""Which shard to claim from next: tokens, timers, claims that came back full, and a slow poll below them."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from scheduler.domain.errors import Unavailable
from workers.duty import backoff_s, pause

LISTEN_S = 2.0
"""One wait for a token: a command every two seconds of an idle process, and so much its drain waits at most."""
POLLED = 4
"""Shards that one safety poll claims from, in turn: what an idle worker costs Redis is bounded."""

_log = structlog.get_logger(__name__)


class Bell(Protocol):
    """Wake tokens of the engine."""

    async def wait(self, timeout_s: float) -> int | None:
        """Pop one token: the shard to claim from; None on time-out."""
        ...

    async def hand_on(self, shard: int) -> None:
        """Give a token back, for a worker that has a free slot."""
        ...


class Wakes:
    """Shards that are due for a claim by this process. Times are monotonic seconds."""

    def __init__(
        self,
        bell: Bell,
        live_shards: Callable[[], Sequence[int]],
        safety_poll_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._bell = bell
        self._live_shards = live_shards
        self._safety_poll_s = safety_poll_s
        self._clock = clock
        self._due: deque[int] = deque()
        self._timers: dict[int, float] = {}
        self._polled = 0
        self._arrived = asyncio.Event()
        self._next_poll_s = clock()

    def now(self, shard: int) -> None:
        """Claim from this shard as soon as there is a slot."""
        if shard not in self._due:
            self._due.append(shard)
        self._arrived.set()

    def after(self, shard: int, delay_ms: int) -> None:
        """Claim from this shard then; the earlier of two times counts."""
        due_s = self._clock() + delay_ms / 1000
        self._timers[shard] = min(due_s, self._timers.get(shard, due_s))
        self._arrived.set()

    def claimed(self, shard: int) -> None:
        """A claim was made: an older timer of the shard is void."""
        self._timers.pop(shard, None)

    async def next(self, stop: asyncio.Event) -> int | None:
        """The next shard that is due; waits for one. None when `stop` is set."""
        while not stop.is_set():
            self._collect_due()
            if self._due:
                return self._due.popleft()
            self._arrived.clear()
            delay_s = max(0.0, min([self._next_poll_s, *self._timers.values()]) - self._clock())
            try:
                async with asyncio.timeout(delay_s):
                    await self._arrived.wait()
            except TimeoutError:
                continue
        return None

    def interrupt(self) -> None:
        """Let `next` look at its stop event."""
        self._arrived.set()

    async def hand_on_due(self) -> None:
        """There is no slot for what is due: other workers shall have it."""
        while self._due:
            await self._bell.hand_on(self._due.popleft())

    async def listen(self, room: asyncio.Event, stop: asyncio.Event) -> None:
        """Pop tokens while there is room, until `stop`; a token that finds no room any more is handed on."""
        failures = 0
        while not stop.is_set():
            if not room.is_set():
                waiting = [asyncio.ensure_future(room.wait()), asyncio.ensure_future(stop.wait())]
                _, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in pending:
                    task.cancel()
                continue
            try:
                shard = await self._bell.wait(LISTEN_S)
                if shard is not None:
                    if stop.is_set() or not room.is_set():
                        await self._bell.hand_on(shard)
                    else:
                        self.now(shard)
                if failures:
                    failures = 0
                    self._poll_soon()
            except Unavailable as problem:
                failures += 1
                if failures == 1:
                    _log.warning("bell.unavailable", reason=problem.message)
                await pause(backoff_s(failures), stop)

    def _poll_soon(self) -> None:
        """After a reconnect every live shard is claimed from once: tokens may have been missed."""
        for shard in self._live_shards():
            self.now(shard)

    def _collect_due(self) -> None:
        now_s = self._clock()
        for shard in [shard for shard, due_s in self._timers.items() if due_s <= now_s]:
            del self._timers[shard]
            if shard not in self._due:
                self._due.append(shard)
        if now_s >= self._next_poll_s:
            self._next_poll_s = now_s + self._safety_poll_s * random.uniform(0.75, 1.25)
            live = self._live_shards()
            for _ in range(min(POLLED, len(live))):
                shard = live[self._polled % len(live)]
                self._polled += 1
                if shard not in self._due:
                    self._due.append(shard)
