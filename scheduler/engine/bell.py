"""Wake-ups of idle workers: one token list per shard, popped by whoever waits.

A script pushes a token when something becomes claimable and none lies there; so one push wakes one worker, and a
token that nobody pops costs nothing.
"""

from __future__ import annotations

import re

from redis.asyncio import Redis

from scheduler.engine import keys
from scheduler.engine.connect import call, connect, translated


class Bell:
    """Waits for the tokens of all shards at once, on a connection of its own."""

    def __init__(self, url: str, shards: int) -> None:
        self._client: Redis = connect(url, blocking=True)
        self._giver: Redis = connect(url)
        self._lists = [keys.wake(shard) for shard in range(shards)]

    def set_shards(self, shards: int) -> None:
        """Listen to this many shards (the number that the database was first started with)."""
        self._lists = [keys.wake(shard) for shard in range(shards)]

    async def wait(self, timeout_s: float) -> int | None:
        """Pop one token: the shard to claim from; None after timeout_s (at least 1 ms)."""
        with translated():
            popped = await call(self._client, "BLPOP", *self._lists, f"{max(0.001, timeout_s):.3f}")
        if popped is None:
            return None
        found = re.search(rb"\{(\d+)\}", popped[0])
        return int(found[1]) if found else None

    async def hand_on(self, shard: int) -> None:
        """Give a token back for another worker."""
        with translated():
            await call(self._giver, "LPUSH", keys.wake(shard), "1")

    async def close(self) -> None:
        """Close the connections; nobody may wait any more."""
        await self._client.aclose()
        await self._giver.aclose()
