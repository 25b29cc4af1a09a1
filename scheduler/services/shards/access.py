"""Engine calls that survive a shard which this process has not opened yet, or which must be recovered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from scheduler.ports.engine import EpochLost
from scheduler.services.shards.recovery import Recovery

T = TypeVar("T")


class Shards:
    """Runs engine calls; opens or recovers the shard and tries once more when its epoch is not ours."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery

    async def run(self, shard: int, call: Callable[[], Awaitable[T]]) -> T:
        """What `call` answers. Raises Unavailable when Redis is away or the recovery takes too long."""
        try:
            return await call()
        except EpochLost:
            await self._recovery.ensure(shard)
            return await call()
