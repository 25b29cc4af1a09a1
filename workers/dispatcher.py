"""The dispatcher: claims for its free slots, and sees that every claimed entry is on its way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from scheduler import metrics
from scheduler.domain.errors import Unavailable
from scheduler.domain.work import BudgetKind, Claimed, Lease, RefillOrder, budget_id
from scheduler.ports.engine import Engine, EpochLost
from scheduler.services.setup.catalog import Catalog
from scheduler.services.shards.recovery import Recovery
from scheduler.settings import Settings
from workers.claim_size import ClaimSize
from workers.committer import Committer
from workers.duty import pause
from workers.holdings import Held, Holdings
from workers.loading import Loading
from workers.triage import uuid_of
from workers.wakes import Bell, Wakes

COALESCE = 64
COALESCE_S = 0.003
"""With nearly all slots busy, a claim waits this long for more of them: one claim for 64 costs little
more than for 1."""
SERVED_AT_ONCE = 3
"""Claims between their issue and the departure of their calls: more would only make each other late."""
SHORTEST_TIMER_MS = 10
EMPTY_AGAIN_MS = 5
"""A claim that got nothing although there may be more comes again after this."""
UNAVAILABLE_MS = 500
RECOVERING_MS = 100
"""A shard that is recovered is asked again after this: whoever recovers it may die."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Dispatched:
    """One turn: the shard (None: the process stops), and how many entries were claimed from it."""

    shard: int | None
    claimed: int = 0


class Dispatcher:
    """Claims while slots are free; waits on wake tokens, never polls (but for the slow safety poll of
    Wakes)."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        bell: Bell,
        catalog: Catalog,
        recovery: Recovery,
        holdings: Holdings,
        committer: Committer,
        loading: Loading,
        wakes: Wakes,
        size: ClaimSize,
        holder: str,
        clock: Callable[[], float],
        on_refill: Callable[[int, RefillOrder], None],
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._bell = bell
        self._catalog = catalog
        self._recovery = recovery
        self._holdings = holdings
        self._committer = committer
        self._loading = loading
        self._wakes = wakes
        self._holder = holder
        self._clock = clock
        self._on_refill = on_refill
        self._size = size
        self._coalesce = min(COALESCE, max(1, settings.worker_concurrency // 4))
        self._serving: set[asyncio.Task[None]] = set()

    async def run_once(self, stop: asyncio.Event) -> Dispatched:
        """Wait for a shard that is due, claim from it, and start what was claimed."""
        shard = await self._wakes.next(stop)
        if shard is None:
            return Dispatched(None)
        if not await self._has_room(shard, stop):
            return Dispatched(shard)
        try:
            await self._catalog.refresh()
            claimed, issued_s, slots = await self._claim(shard)
        except EpochLost:
            await self._recover(shard)
            return Dispatched(shard)
        except Unavailable:
            self._wakes.after(shard, UNAVAILABLE_MS)
            raise
        self._again(shard, claimed)
        if claimed.refill is not None:
            self._on_refill(shard, claimed.refill)
        if claimed.leases:
            self._size.adapt(full=len(claimed.leases) >= slots)
            helds = [self._hold(shard, lease, issued_s, claimed.lease_ms) for lease in claimed.leases]
            task = asyncio.create_task(self._loading.serve(shard, helds))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        return Dispatched(shard, len(claimed.leases))

    async def served(self) -> None:
        """Wait until every claim's calls are on their way."""
        while self._serving:
            await asyncio.wait(list(self._serving))

    async def _has_room(self, shard: int, stop: asyncio.Event) -> bool:
        """Wait a little for slots; without any, another worker shall have the shard. What could not be loaded or
        recorded is not claimed."""
        while self._committer.full and not stop.is_set():
            await pause(0.05, stop)
        await self._loading.store_is_back(shard, stop)
        while len(self._serving) >= SERVED_AT_ONCE:
            await asyncio.wait(list(self._serving), return_when=asyncio.FIRST_COMPLETED)
        if 0 < self._holdings.free < self._coalesce:
            await asyncio.sleep(COALESCE_S)
        if self._holdings.free > 0 and not stop.is_set():
            return True
        await self._bell.hand_on(shard)
        await self._wakes.hand_on_due()
        return False

    async def _claim(self, shard: int) -> tuple[Claimed, float, int]:
        slots = min(self._size.entries, self._holdings.free)
        issued_s = self._clock()
        claimed = await self._engine.claim(
            shard,
            slots=slots,
            open_slots=min(slots, self._holdings.open),
            holder=self._holder,
            lease_ms=self._settings.lease_ms,
            crowded=self._holdings.crowded(),
            may_suspect=not self._holdings.suspects,
        )
        self._wakes.claimed(shard)
        brought = len(claimed.leases)
        metrics.CLAIMS.labels("full" if brought >= slots else "some" if brought else "none").inc()
        metrics.CLAIMED_ITEMS.inc(brought)
        return claimed, issued_s, slots

    def _again(self, shard: int, claimed: Claimed) -> None:
        """When to claim from the shard again."""
        match claimed.next_due_ms:
            case None:
                return
            case 0 if claimed.leases:
                self._wakes.now(shard)
            case 0:
                self._wakes.after(shard, EMPTY_AGAIN_MS)
            case delay_ms if claimed.holds_timer:
                self._wakes.after(shard, max(SHORTEST_TIMER_MS, delay_ms))

    def _hold(self, shard: int, lease: Lease, issued_s: float, lease_ms: int) -> Held:
        held = Held(
            shard,
            lease,
            issued_s,
            issued_s + lease_ms / 1000,
            issued_s + self._settings.start_by_ms / 1000,
            self._budget_of(lease),
        )
        self._holdings.take(held)
        return held

    def _budget_of(self, lease: Lease) -> str:
        """The connection's budget that the lease holds; the queue stands in for a resource not known yet."""
        resource_id = lease.ref.flow.queue.resource_id
        served = self._catalog.resource(uuid_of(resource_id))
        if served is None or lease.target >= len(served.resource.targets):
            return resource_id
        return budget_id(BudgetKind.CONNECTION, served.resource.targets[lease.target].connection_id)

    async def _recover(self, shard: int) -> None:
        try:
            await self._recovery.ensure(shard)
        except Unavailable:
            self._wakes.after(shard, UNAVAILABLE_MS)
            raise
        self._wakes.after(shard, RECOVERING_MS)
