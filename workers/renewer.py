"""The renewer: leases of calls that take long are prolonged before they expire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from scheduler.domain.errors import Unavailable
from scheduler.ports.engine import Engine, EpochLost
from scheduler.services.recovery import Recovery
from workers.holdings import Held, Holdings

CHUNK = 128
RENEW_SHARE = 0.8
"""A lease with more than this share of its time left is not renewed yet: short calls never cost a renewal."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Renewed:
    """How many leases were prolonged, and how many turned out lost."""

    renewed: int
    lost: int


class Renewer:
    """Prolongs every lease of this process in time; a lost one is marked, so that its result is discarded."""

    def __init__(
        self,
        engine: Engine,
        holdings: Holdings,
        recovery: Recovery,
        holder: str,
        lease_ms: int,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._holdings = holdings
        self._recovery = recovery
        self._holder = holder
        self._lease_ms = lease_ms
        self._clock = clock

    async def run_once(self) -> Renewed:
        """Renew what needs it. Raises Unavailable when a shard could not be asked, after all others were."""
        due = self._holdings.due_for_renewal(self._clock(), RENEW_SHARE * self._lease_ms / 1000)
        return await self.renew(due) if due else Renewed(0, 0)

    async def renew(self, helds: Sequence[Held]) -> Renewed:
        """Renew these now. A shard whose epoch is gone is recovered; its leases keep the deadline they
        had."""
        by_shard: dict[int, list[Held]] = {}
        for held in helds:
            by_shard.setdefault(held.shard, []).append(held)
        renewed = lost = 0
        trouble: Unavailable | None = None
        for shard, mine in by_shard.items():
            for start in range(0, len(mine), CHUNK):
                chunk = mine[start : start + CHUNK]
                try:
                    lost_here = await self._renew_chunk(shard, chunk)
                except Unavailable as problem:
                    trouble = problem
                    break
                renewed += len(chunk) - lost_here
                lost += lost_here
        if trouble is not None:
            raise trouble
        return Renewed(renewed, lost)

    async def _renew_chunk(self, shard: int, chunk: Sequence[Held]) -> int:
        issued_s = self._clock()
        leases = [(held.lease.ref, held.sent_ago_ms(issued_s)) for held in chunk]
        try:
            lost = await self._engine.renew(shard, self._lease_ms, leases)
        except EpochLost:
            await self._recovery.ensure(shard)
            lost = await self._engine.renew(shard, self._lease_ms, leases)
        for held in chunk:
            if held.lease.ref not in lost:
                held.deadline_s = issued_s + self._lease_ms / 1000
        count = self._holdings.lose(chunk, lost) if lost else 0
        if count:
            _log.warning("leases.lost", shard=shard, count=count)
        return count
