"""The reclaimer: entries whose holder went silent go back to their flows; those that kill holders are
recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from scheduler import metrics
from scheduler.domain.work import Lease
from scheduler.ports.engine import Engine, EpochLost
from scheduler.services.shards.recovery import Recovery
from workers.committer import Committer, Finished
from workers.holdings import Held, Holdings
from workers.living import Living
from workers.triage import dead_letter, uuid_of

SHORTEST_S = 0.25
LONGEST_S = 1.0
FULL = 128
"""A reclaim that took back so many is repeated at once."""
ROUNDS = 20
HOT_LEASES = 3
"""A shard is looked at every turn for so many leases after a claim from it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """One turn: shards looked at, expired leases taken back, and dead letters among them."""

    shards: tuple[int, ...]
    expired: int = 0
    dead: int = 0


class Reclaimer:
    """Looks at one live shard a turn, in turn, so that an idle worker's cost does not grow with the
    shards."""

    def __init__(
        self,
        engine: Engine,
        recovery: Recovery,
        holdings: Holdings,
        committer: Committer,
        live_shards: Callable[[], Sequence[int]],
        holder: str,
        lease_ms: int,
        clock: Callable[[], float],
        living: Living,
    ) -> None:
        self._engine = engine
        self._recovery = recovery
        self._holdings = holdings
        self._committer = committer
        self._live_shards = live_shards
        self._holder = holder
        self._lease_ms = lease_ms
        self._clock = clock
        self._living = living
        self._turn = 0

    def interval_s(self) -> float:
        """A tenth of a lease, within bounds."""
        return min(LONGEST_S, max(SHORTEST_S, self._lease_ms / 10_000))

    async def run_once(self) -> Reclaimed:
        """Take back what expired."""
        shards = self._shards()
        expired = dead = 0
        for shard in shards:
            found = await self._reclaim(shard)
            expired += found[0]
            dead += found[1]
        if expired:
            metrics.RECLAIMED.inc(expired)
            _log.warning("leases.reclaimed", shards=shards, expired=expired, dead_letters=dead)
        return Reclaimed(shards, expired, dead)

    def _shards(self) -> tuple[int, ...]:
        live = self._live_shards()
        if not live:
            return ()
        self._turn += 1
        hot = self._holdings.claimed_since(self._clock() - HOT_LEASES * self._lease_ms / 1000)
        return tuple(sorted({*hot, live[self._turn % len(live)]}))

    async def _reclaim(self, shard: int) -> tuple[int, int]:
        expired = dead = 0
        for _ in range(ROUNDS):
            issued_s = self._clock()
            try:
                count, letters = await self._engine.reclaim(shard, self._holder, self._lease_ms, self._living.now())
            except EpochLost:
                await self._recovery.ensure(shard)
                break
            expired += count
            dead += len(letters)
            for lease in letters:
                self._record(shard, lease, issued_s)
            if count < FULL:
                break
        return expired, dead

    def _record(self, shard: int, lease: Lease, issued_s: float) -> None:
        held = Held(shard, lease, issued_s, issued_s + self._lease_ms / 1000, issued_s, "")
        self._holdings.hold(held)
        batch_id = uuid_of(lease.ref.flow.batch_id)
        self._committer.put(Finished(held, batch_id, dead_letter(), None, None, None, self._clock()))
