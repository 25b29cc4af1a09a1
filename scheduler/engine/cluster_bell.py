"""Wake-ups on a cluster, where one BLPOP cannot wait for lists of several slots: one listener a shard.

A listener waits on a connection of its own to the node that has its shard, as long as this process waits for a wake-up.
A token that it brings when nobody waits any more is given back at once, so that another process takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import redis.exceptions
from redis.asyncio import Redis

from scheduler.domain.errors import Unavailable
from scheduler.engine import keys
from scheduler.engine.connect import call, translated
from scheduler.engine.servers import Servers

BLOCK_S = 8.0
"""One BLPOP: with 16 shards an idle process asks a cluster for two a second."""
KEEP_S = 0.05
"""A second token is kept so long for the next wait."""
TROUBLE_PAUSE_S = 0.5
"""Before a listener whose node went away looks for its shard again."""


class ClusterBell:
    """The same as bell.Bell."""

    def __init__(self, servers: Servers, shards: int) -> None:
        self._servers = servers
        self._shards = shards
        self._waiting = 0
        self._tokens: asyncio.Queue[int] = asyncio.Queue()
        self._listeners: dict[int, asyncio.Task[None]] = {}
        self._clients: dict[int, Redis] = {}
        self._returning: set[asyncio.Task[None]] = set()
        self._closed = False

    def set_shards(self, shards: int) -> None:
        """Listen to this many shards (the number that the database was first started with)."""
        self._shards = shards

    async def wait(self, timeout_s: float) -> int | None:
        """Pop one token: the shard to claim from; None after timeout_s. Trouble with a node is waited out: its shards
        are claimed from once when it, or its successor, answers."""
        self._waiting += 1
        try:
            for shard in range(self._shards):
                listener = self._listeners.get(shard)
                if listener is None or listener.done():
                    self._listeners[shard] = asyncio.create_task(self._listen(shard), name=f"bell-{shard}")
            async with asyncio.timeout(max(0.001, timeout_s)):
                return await self._tokens.get()
        except TimeoutError:
            return None
        finally:
            self._waiting -= 1
            if not self._waiting and not self._tokens.empty():
                asyncio.get_running_loop().call_later(KEEP_S, self._give_up)

    async def hand_on(self, shard: int) -> None:
        """Give a token back for another worker."""
        with translated():
            await self._servers.on(shard, lambda client: call(client, "LPUSH", keys.wake(shard), "1"))

    async def close(self) -> None:
        """Close the connections; nobody may wait any more."""
        self._closed = True
        for shard in list(self._clients):
            await self._forget(shard)
        if self._listeners:
            # Their connections are gone, so they end by themselves; one may have opened another just now.
            await asyncio.wait(self._listeners.values(), timeout=1.0)
        for shard in list(self._clients):
            await self._forget(shard)

    async def _listen(self, shard: int) -> None:
        in_trouble = False
        while self._waiting and not self._closed:
            try:
                popped = await self._pop(shard)
            except (Unavailable, redis.exceptions.ResponseError):
                in_trouble = True
                await self._forget(shard)
                if not self._closed:
                    await asyncio.sleep(TROUBLE_PAUSE_S)
                continue
            if popped or in_trouble:
                in_trouble = False
                await self._bring(shard)

    async def _pop(self, shard: int) -> bool:
        # Listeners that started together shall not come back together.
        block_s = BLOCK_S * random.uniform(0.75, 1.0)
        with translated():
            client = self._clients.get(shard)
            if client is None:
                client = self._clients[shard] = await self._servers.blocking(shard)
            return await call(client, "BLPOP", keys.wake(shard), f"{block_s:.3f}") is not None

    def _give_up(self) -> None:
        """Tokens that came with the one that ended the wait, while nobody waits again: others shall have them."""
        while not self._waiting and not self._closed and not self._tokens.empty():
            task = asyncio.create_task(self._hand_back(self._tokens.get_nowait()))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _bring(self, shard: int) -> None:
        if self._waiting and not self._closed:
            self._tokens.put_nowait(shard)
            return
        await self._hand_back(shard)

    async def _hand_back(self, shard: int) -> None:
        with contextlib.suppress(Unavailable):
            await self.hand_on(shard)

    async def _forget(self, shard: int) -> None:
        client = self._clients.pop(shard, None)
        if client is not None:
            await client.aclose()
