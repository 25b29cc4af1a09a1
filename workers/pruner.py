"""The pruner: partitions ahead of time, and what nobody asks for any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from scheduler import metrics
from scheduler.ports.retention import Forgotten, RetentionStore
from scheduler.ports.shards import ShardStore

INTERVAL_S = 3_600.0
_NOTHING = Forgotten()
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pruned:
    """held: this process had the lock and did it. forgotten: of the past."""

    held: bool
    forgotten: Forgotten = _NOTHING


class Pruner:
    """Hourly; one process at a time. retention_days: how long batches that ended are kept; None: for ever."""

    def __init__(
        self,
        store: ShardStore,
        retention: RetentionStore,
        retention_days: float | None,
        utc_now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._retention = retention
        self._retention_days = retention_days
        self._utc_now = utc_now

    async def run_once(self) -> Pruned:
        """Make partitions, forget old keys, processes and batches."""
        async with self._store.exclusive("prune") as mine:
            if not mine:
                return Pruned(False)
            await self._store.maintain()
            if self._retention_days is None:
                return Pruned(True)
            before = self._utc_now() - timedelta(days=self._retention_days)
            forgotten = await self._retention.forget(before)
            if forgotten != _NOTHING:
                metrics.FORGOTTEN_BATCHES.inc(forgotten.batches)
                _log.info(
                    "batches.forgotten",
                    before=before.isoformat(),
                    batches=forgotten.batches,
                    dropped=forgotten.dropped,
                    held=forgotten.held,
                )
            return Pruned(True, forgotten)
