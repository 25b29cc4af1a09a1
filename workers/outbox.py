"""Messages to the engine that may wait: gathered per shard, sent in order, tried again while Redis is
away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from scheduler.domain.errors import Unavailable
from scheduler.ports.engine import EpochLost
from workers.duty import backoff_s

KEPT = 50_000
"""Messages of one shard kept while Redis is away; older ones go: their leases expire, and Postgres knows
the rest."""

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Outbox(Generic[T]):
    """One sender task per shard while there is something to send.

    send(shard, messages): one call, up to `chunk` messages. on_lost(shard): the shard's epoch is gone; afterwards the
    messages are sent again, and Redis says which of them it still knows.
    """

    def __init__(
        self,
        name: str,
        chunk: int,
        send: Callable[[int, list[T]], Awaitable[None]],
        forget: Callable[[list[T]], None],
        on_lost: Callable[[int], Awaitable[None]],
    ) -> None:
        self._name = name
        self._chunk = chunk
        self._send = send
        self._forget = forget
        self._on_lost = on_lost
        self._waiting: dict[int, list[T]] = {}
        self._senders: dict[int, asyncio.Task[None]] = {}

    def put(self, shard: int, messages: list[T]) -> None:
        """Send these soon; never waits."""
        waiting = self._waiting.setdefault(shard, [])
        waiting += messages
        if len(waiting) > KEPT:
            surplus = len(waiting) - KEPT
            self._forget(waiting[:surplus])
            del waiting[:surplus]
        if shard not in self._senders:
            task = asyncio.create_task(self._drain(shard), name=f"{self._name}-{shard}")
            self._senders[shard] = task

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def empty(self) -> None:
        """Wait until nothing is left to send."""
        while self._senders:
            await asyncio.wait(list(self._senders.values()))

    async def _drain(self, shard: int) -> None:
        waiting = self._waiting[shard]
        failures = 0
        try:
            while waiting:
                messages = waiting[: self._chunk]
                del waiting[: self._chunk]
                try:
                    await self._send(shard, messages)
                    failures = 0
                except EpochLost:
                    waiting[:0] = messages
                    await self._lost(shard)
                except Unavailable as problem:
                    waiting[:0] = messages
                    failures += 1
                    if failures == 1:
                        _log.warning("outbox.waiting", outbox=self._name, shard=shard, reason=problem.message)
                    await asyncio.sleep(backoff_s(failures))
                except Exception:
                    # A lease that is kept without being worked on would be renewed for ever: let it expire.
                    _log.exception("outbox.failed", outbox=self._name, shard=shard, messages=len(messages))
                    self._forget(messages)
        finally:
            del self._senders[shard]

    async def _lost(self, shard: int) -> None:
        try:
            await self._on_lost(shard)
        except Unavailable as problem:
            _log.warning("outbox.shard_lost", outbox=self._name, shard=shard, reason=problem.message)
            await asyncio.sleep(backoff_s(1))
