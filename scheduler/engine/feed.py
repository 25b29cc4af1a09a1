"""The live feed of batches: hints that Postgres holds new events, and which items just started.

One blocked connection per shard that has readers, whatever their number. The feed may lose anything: readers read
Postgres first, and again after a time-out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import redis.exceptions
from redis.asyncio import Redis

from scheduler.domain.errors import Unavailable
from scheduler.domain.work import Started
from scheduler.engine import keys
from scheduler.engine.connect import call, translated
from scheduler.engine.servers import Servers

BLOCK_MS = 5_000
TROUBLE_PAUSE_S = 0.5
"""Before a reader whose server went away looks for it again."""
RUNNING_KEPT = 10_000
"""Positions of started items that a slow reader may lag behind; older ones are dropped, the feed is live only."""


@dataclass(frozen=True, slots=True)
class News:
    """What happened since the last look. last_event: newest number known (0: none). running: what started."""

    last_event: int
    running: tuple[Started, ...]


@dataclass(eq=False, slots=True)
class Watch:
    """One reader's view of one batch's feed."""

    _last_event: int = 0
    _running: list[Started] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self, timeout_s: float) -> News | None:
        """Wait for news; None after timeout_s without any."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        except TimeoutError:
            return None
        self._arrived.clear()
        running, self._running = tuple(self._running), []
        return News(self._last_event, running)

    def tell(self, last_event: int | None, running: list[Started]) -> None:
        """Add one feed entry."""
        if last_event is not None:
            self._last_event = max(self._last_event, last_event)
        self._running += running
        del self._running[:-RUNNING_KEPT]
        self._arrived.set()


class Feed:
    """All feeds that this process reads."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._shards: dict[int, _ShardReader] = {}

    @asynccontextmanager
    async def watch(
        self, shard: int, workspace_id: object, environment_id: object, batch_id: object, *, from_start: bool = False
    ) -> AsyncIterator[Watch]:
        """Read a batch's feed from now on. Read Postgres after entering, then wait: nothing is missed.

        from_start: also what its stream holds already, for the creator of the batch, whose first items may have
        started before the watch.
        """
        reader = self._shards.get(shard)
        if reader is None:
            reader = self._shards[shard] = _ShardReader(self._servers, shard)
        stream = keys.feed(shard, str(workspace_id), str(environment_id), str(batch_id))
        watch = await reader.add(stream, from_start=from_start)
        try:
            yield watch
        finally:
            reader.remove(stream, watch)

    async def close(self) -> None:
        """Stop reading."""
        for reader in self._shards.values():
            await reader.close()
        self._shards.clear()


class _ShardReader:
    """Reads the streams of one shard on one connection, while anybody watches one. In a cluster the connection is to
    the node that has the shard; after trouble, to the node that has it then."""

    def __init__(self, servers: Servers, shard: int) -> None:
        self._servers = servers
        self._shard = shard
        self._reader: Redis | None = None
        self._watches: dict[str, set[Watch]] = {}
        self._positions: dict[str, bytes] = {}
        self._task: asyncio.Task[None] | None = None
        self._connection_id: int | None = None
        self._stopped = False

    async def add(self, stream: str, *, from_start: bool) -> Watch:
        """Watch one stream from its present end (or from its start, if nobody watches it yet). The present end is
        read at once, so that what comes between two reads is not skipped; when Redis is away, reading starts at the
        next entry it hears of."""
        watch = Watch()
        if stream not in self._watches and from_start:
            self._positions.setdefault(stream, b"0-0")
        elif stream not in self._watches:
            with contextlib.suppress(Unavailable), translated():
                newest: list[tuple[bytes, object]] = await self._call("XREVRANGE", stream, "+", "-", "COUNT", 1)
                self._positions.setdefault(stream, newest[0][0] if newest else b"0-0")
            self._positions.setdefault(stream, b"$")
        self._watches.setdefault(stream, set()).add(watch)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._read())
        else:
            await self._unblock()
        return watch

    def remove(self, stream: str, watch: Watch) -> None:
        """Watch a stream no more."""
        watches = self._watches.get(stream, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(stream, None)
            self._positions.pop(stream, None)

    async def _call(self, *command: object) -> Any:
        return await self._servers.on(self._shard, lambda client: call(client, *command))

    async def _unblock(self) -> None:
        if self._connection_id is not None:
            with contextlib.suppress(Unavailable), translated():
                await self._call("CLIENT", "UNBLOCK", self._connection_id)

    async def _connected(self) -> Redis:
        if self._reader is None:
            self._reader = await self._servers.blocking(self._shard)
        if self._connection_id is None:
            self._connection_id = int(await call(self._reader, "CLIENT", "ID"))
        return self._reader

    async def _disconnect(self) -> None:
        reader, self._reader, self._connection_id = self._reader, None, None
        if reader is not None:
            await reader.aclose()

    async def _read(self) -> None:
        while self._watches and not self._stopped:
            try:
                with translated():
                    reader = await self._connected()
                    streams = self._positions.copy()
                    heard = await call(
                        reader,
                        "XREAD",
                        "COUNT",
                        256,
                        "BLOCK",
                        BLOCK_MS,
                        "STREAMS",
                        *streams,
                        *streams.values(),
                    )
            except Unavailable:
                await self._disconnect()
                await asyncio.sleep(TROUBLE_PAUSE_S)
                continue
            except redis.exceptions.ResponseError:
                self._connection_id = None
                continue
            for name, entries in heard.items() if isinstance(heard, dict) else heard or ():
                self._tell(name.decode(), entries)

    def _tell(self, stream: str, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        if stream not in self._positions or not entries:
            return
        self._positions[stream] = entries[-1][0]
        last_event: int | None = None
        running: list[Started] = []
        for entry_id, fields in entries:
            if b"event" in fields:
                last_event = max(last_event or 0, int(fields[b"event"]))
            if b"running" in fields:
                at_ms = int(entry_id.partition(b"-")[0])
                running += [Started(int(each), at_ms) for each in fields[b"running"].split(b",")]
        for watch in self._watches.get(stream, ()):
            watch.tell(last_event, running)

    async def close(self) -> None:
        """Stop the reader gracefully: cancelling a blocked redis-py call can hang."""
        self._stopped = True
        self._watches.clear()
        await self._unblock()
        if self._task is not None:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(1):
                    await self._task
        await self._disconnect()
