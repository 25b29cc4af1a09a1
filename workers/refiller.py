"""The refiller: carries out the refills that claims order, a few at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from scheduler import metrics
from scheduler.domain.work import RefillOrder
from scheduler.ports.engine import EpochLost
from scheduler.services.shards.recovery import Recovery
from scheduler.services.shards.refill import Refill

WAITING = 256
"""Orders beyond this are dropped: the engine hands them out again."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refilled:
    """One order: how many entries were pushed."""

    pushed: int


class Refiller:
    """Any number of loops may run `run_once`."""

    def __init__(self, refill: Refill, recovery: Recovery) -> None:
        self._refill = refill
        self._recovery = recovery
        self._orders: asyncio.Queue[tuple[int, RefillOrder] | None] = asyncio.Queue(WAITING)

    def order(self, shard: int, order: RefillOrder) -> None:
        """Do this soon; never waits."""
        try:
            self._orders.put_nowait((shard, order))
        except asyncio.QueueFull:
            _log.warning("refill.dropped", shard=shard, batch_id=order.flow.batch_id)

    def stop_waiting(self) -> None:
        """Let one waiting run_once return."""
        if not self._orders.full():
            self._orders.put_nowait(None)

    async def run_once(self) -> Refilled:
        """Wait for an order and carry it out. Raises Unavailable; the order then comes again from the
        engine."""
        found = await self._orders.get()
        if found is None:
            return Refilled(0)
        shard, order = found
        try:
            filled = await self._refill.carry_out(shard, order)
        except EpochLost:
            await self._recovery.ensure(shard)
            return Refilled(0)
        metrics.REFILLED_ITEMS.inc(filled.pushed)
        return Refilled(filled.pushed)
