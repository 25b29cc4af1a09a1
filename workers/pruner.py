"""The pruner: partitions ahead of time, and what nobody asks for any more."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.ports.store import ShardStore

INTERVAL_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """held: this process had the lock and did it."""

    held: bool


class Pruner:
    """Hourly; one process at a time."""

    def __init__(self, store: ShardStore) -> None:
        self._store = store

    async def run_once(self) -> Pruned:
        """Make partitions, forget old keys and processes."""
        async with self._store.exclusive("prune") as mine:
            if mine:
                await self._store.maintain()
            return Pruned(bool(mine))
