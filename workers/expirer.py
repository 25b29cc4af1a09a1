"""The expirer: what a batch still has waiting when its deadline passes fails with DEADLINE_EXCEEDED; what runs ends by
itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from scheduler import metrics
from scheduler.domain.batch import Batch
from scheduler.domain.status import ItemStatus
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.services.shards.recovery import Recovery
from workers.sweeping import Sweeping, Verdict

BATCHES = 16
"""Overdue batches looked at in one turn."""
INTERVAL_S = 1.0
EXPIRED = Verdict(ItemStatus.FAILED, "DEADLINE_EXCEEDED", "The batch's deadline passed before the item could start.")


@dataclass(frozen=True, slots=True)
class Expired:
    """One turn: overdue batches that are still live, and items that failed for it."""

    batches: int
    items: int


class Expirer:
    """Any process may do this at any time. utc_now: wall time; a deadline that is put off meanwhile brings what had not
    failed yet back, by the reconciler."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        recovery: Recovery,
        utc_now: Callable[[], datetime],
        on_deliveries: Callable[[], None],
    ) -> None:
        self._store = store
        self._utc_now = utc_now
        self._after: Batch | None = None
        self._sweeping = Sweeping(store, engine, recovery, utc_now, on_deliveries)

    async def run_once(self) -> Expired:
        """Fail what waits beyond its deadline. The turns go round: batches whose last items run for long must not keep
        the others waiting."""
        batches = await self._store.outlook.overdue(self._utc_now(), BATCHES, self._after)
        self._after = batches[-1] if len(batches) == BATCHES else None
        items = await self._sweeping.sweep(batches, EXPIRED)
        metrics.EXPIRED_ITEMS.inc(items)
        return Expired(len(batches), items)
