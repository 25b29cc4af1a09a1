"""The renewer: leases of calls that take long are prolonged before they expire, and announced after a loss of Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from scheduler.domain.errors import Unavailable
from scheduler.domain.work import LeaseRef
from scheduler.ports.engine import Engine, EpochLost
from scheduler.services.shards.recovery import Recovery
from workers.holdings import Held, Holdings

CHUNK = 128
WATCH_S = 0.5
"""Between two looks whether Redis still is what it was: services.shards.recovery.ANNOUNCED_S leaves time for four."""
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

    async def watch_once(self) -> Renewed:
        """Notice a loss of Redis that no call of ours met, and announce at once what we hold. Costs one GET for each
        shard of which something is held. Raises Unavailable when a shard could not be asked, after all others were."""
        trouble: Unavailable | None = None
        for shard in self._holdings.shards():
            try:
                await self._confirm(shard)
            except Unavailable as problem:
                trouble = problem
        earlier = [held for held in self._holdings.underway() if self._is_earlier(held)]
        done = await self.renew(earlier) if earlier else Renewed(0, 0)
        if trouble is not None:
            raise trouble
        return done

    async def _confirm(self, shard: int) -> None:
        try:
            await self._engine.confirm(shard)
        except EpochLost:
            await self._recovery.ensure(shard)

    def _is_earlier(self, held: Held) -> bool:
        """Granted under an epoch that is over."""
        agreed = self._engine.agreed_epoch(held.shard)
        return agreed is not None and held.lease.ref.fence.epoch < agreed

    async def renew(self, helds: Sequence[Held]) -> Renewed:
        """Renew these now, or announce those of an earlier epoch. A shard whose epoch is gone is recovered first. What
        the shard does not know yet, being repaired, keeps the deadline that it had, and is not lost."""
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
        """Answers how many are lost. Two losses of Redis in a row leave the rest to the next turn."""
        for _ in range(2):
            earlier = [held for held in chunk if self._is_earlier(held)]
            present = [held for held in chunk if not self._is_earlier(held)]
            try:
                return await self._announce(shard, earlier) + await self._prolong(shard, present)
            except EpochLost:
                await self._recovery.ensure(shard)
        return 0

    async def _prolong(self, shard: int, chunk: Sequence[Held]) -> int:
        if not chunk:
            return 0
        issued_s = self._clock()
        leases = [(held.lease.ref, held.sent_ago_ms(issued_s)) for held in chunk]
        lost = await self._engine.renew(shard, self._lease_ms, leases)
        for held in chunk:
            if held.lease.ref not in lost:
                held.deadline_s = issued_s + self._lease_ms / 1000
        return self._lose(shard, chunk, lost)

    async def _announce(self, shard: int, chunk: Sequence[Held]) -> int:
        if not chunk:
            return 0
        issued_s = self._clock()
        names = await self._engine.announce(shard, self._holder, self._lease_ms, [held.lease for held in chunk])
        lost = self._lose(shard, chunk, frozenset(ref for ref, name in names.items() if name is None))
        for held in chunk:
            name = names.get(held.lease.ref)
            if name is not None:
                held.lease = held.lease._replace(ref=name)
                held.deadline_s = issued_s + self._lease_ms / 1000
        _log.info("leases.announced", shard=shard, announced=len(chunk), unknown=len(chunk) - len(names), lost=lost)
        return lost

    def _lose(self, shard: int, chunk: Sequence[Held], lost: frozenset[LeaseRef]) -> int:
        count = self._holdings.lose(chunk, lost) if lost else 0
        if count:
            _log.warning("leases.lost", shard=shard, count=count)
        return count
