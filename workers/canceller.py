"""The canceller: what a cancelled batch still has waiting is recorded as CANCELLED, in chunks, then the
batch ends."""

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

INTERVAL_S = 0.5
"""Between two looks: what a caller waits for `batch-cancelled` beside its running items."""
BATCHES = 16
"""Cancelled batches looked at in one turn."""
CANCELLED = Verdict(ItemStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """One turn: batches that were not ended yet, and items recorded as cancelled."""

    batches: int
    items: int


class Canceller:
    """Any process may do this at any time. utc_now: wall time, for completed_at."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        recovery: Recovery,
        utc_now: Callable[[], datetime],
        on_deliveries: Callable[[], None],
    ) -> None:
        self._store = store
        self._after: Batch | None = None
        self._sweeping = Sweeping(store, engine, recovery, utc_now, on_deliveries)

    async def run_once(self) -> Cancelled:
        """Bring cancelled batches to their end, as far as nothing of them runs any more. The turns go round: those
        whose last items run for long must not keep the others waiting."""
        batches = await self._store.shards.cancelled_unfinished(BATCHES, self._after)
        self._after = batches[-1] if len(batches) == BATCHES else None
        items = await self._sweeping.sweep(batches, CANCELLED)
        metrics.CANCELLED_ITEMS.inc(items)
        return Cancelled(len(batches), items)
