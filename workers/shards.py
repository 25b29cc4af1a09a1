"""The shards that this process works on: those that have an environment, each opened before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.ports.shards import ShardStore
from scheduler.services.shards.recovery import Recovery

INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Opened:
    """Shards that became live since the last look."""

    shards: tuple[int, ...]


class LiveShards:
    """Looks for shards that became live, and opens them."""

    def __init__(self, store: ShardStore, recovery: Recovery) -> None:
        self._store = store
        self._recovery = recovery
        self._live: tuple[int, ...] = ()

    def __call__(self) -> Sequence[int]:
        """The shards in use, in order."""
        return self._live

    async def run_once(self) -> Opened:
        """Open what is new. Raises Unavailable; what was opened before that stays."""
        found = await self._store.live_shards()
        new = tuple(shard for shard in found if shard not in self._live)
        for shard in new:
            await self._recovery.ensure(shard)
            self._live = tuple(sorted({*self._live, shard}))
        return Opened(new)
