"""The events of a batch as SSE frames: read from Postgres in order, from any number on; the feed only says
when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

import structlog

from scheduler.domain.batch import Batch, BatchAction, BatchEvent, Item
from scheduler.domain.ids import ItemIds
from scheduler.ports.store import Store
from scheduler.services.tenants import Tenants
from scheduler.services.views import event_frame, running_frame

PAGE_EVENTS = 500
"""Events read and sent at once: one frame each, but one write, which is ten times cheaper."""
PAGE_BYTES = 1 << 20
_RUNNING_PAGE = 200
LOOK_S = 5.0
"""After this long without news a reader looks in Postgres all the same: the feed may lose anything."""
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"errorCode":"%s","errorMessage":"%s"}}\n\ndata: [ERROR]\n\n'

_log = structlog.get_logger(__name__)


class News(Protocol):
    """What the live feed heard. last_event: newest event number (0: none heard). running: items that
    started."""

    @property
    def last_event(self) -> int: ...
    @property
    def running(self) -> tuple[int, ...]: ...


class Watch(Protocol):
    """One reader's view of the feed of one batch."""

    async def next(self, timeout_s: float) -> News | None:
        """Wait for news; None after timeout_s without any."""
        ...


class Feed(Protocol):
    """The live feeds of all batches."""

    def watch(
        self, shard: int, workspace_id: object, environment_id: object, batch_id: object
    ) -> AbstractAsyncContextManager[Watch]:
        """Follow one batch from now on."""
        ...


class EventStream:
    """Streams of events. Any number of readers may follow one batch; they share nothing but Postgres."""

    def __init__(self, store: Store, feed: Feed, tenants: Tenants) -> None:
        self._store = store
        self._feed = feed
        self._tenants = tenants

    async def frames(self, batch: Batch, after: int) -> AsyncIterator[bytes]:
        """Frames with a number above `after` (0: from the start), several to a chunk, `[DONE]` at the end
        of the batch.

        When it fails, an error frame and `[ERROR]` end it: the caller resumes with the last id that it saw.
        """
        try:
            async for chunk in self._follow(batch, after):
                yield chunk
        except Exception as error:
            _log.exception("events.stream_failed", batch_id=str(batch.batch_id), error=type(error).__name__)
            yield ERROR % (b"UNAVAILABLE", b"The stream was interrupted; resume it with Last-Event-ID.")

    async def _follow(self, batch: Batch, after: int) -> AsyncIterator[bytes]:
        ids = ItemIds(batch.batch_id)
        shard = await self._tenants.shard_of(batch.environment_id)
        async with self._feed.watch(shard, batch.workspace_id, batch.environment_id, batch.batch_id) as watch:
            unsure = True  # whether the batch may have ended without us knowing
            while True:
                reading = True
                while reading:
                    events = await self._store.outcomes.events(batch.batch_id, after=after, limit=PAGE_EVENTS)
                    if events:
                        after = events[-1].event_no
                        unsure = unsure or any(_may_end(event) for event in events)
                        for chunk in _chunks([event_frame(event, ids) for event in events]):
                            yield chunk
                    reading = len(events) == PAGE_EVENTS
                if unsure:
                    latest = await self._store.batches.get(batch.environment_id, batch.batch_id)
                    if latest is None or (latest.ended and after >= latest.last_event):
                        yield DONE
                        return
                    unsure = False
                    if after < latest.last_event:
                        continue
                while True:
                    news = await watch.next(LOOK_S)
                    if news is None:
                        unsure = True
                        break
                    if news.running:
                        async for chunk in self._running(batch.batch_id, news.running, after, ids):
                            yield chunk
                    if news.last_event > after:
                        break

    async def _running(
        self, batch_id: UUID, seqs: tuple[int, ...], after: int, ids: ItemIds
    ) -> AsyncIterator[bytes]:
        """Frames of items that started, except those whose end was already sent."""
        for start in range(0, len(seqs), _RUNNING_PAGE):
            items = await self._store.items.items(batch_id, seqs[start : start + _RUNNING_PAGE])
            frames = [running_frame(item, ids) for item in items if not _told(item, after)]
            for chunk in _chunks(frames):
                yield chunk


def _may_end(event: object) -> bool:
    return isinstance(event, BatchEvent) and event.action != BatchAction.CREATED


def _told(item: Item, after: int) -> bool:
    return item.event_no is not None and item.event_no <= after


def _chunks(frames: list[bytes]) -> list[bytes]:
    """Frames joined into chunks of about PAGE_BYTES."""
    chunks: list[bytes] = []
    gathered: list[bytes] = []
    size = 0
    for frame in frames:
        gathered.append(frame)
        size += len(frame)
        if size >= PAGE_BYTES:
            chunks.append(b"".join(gathered))
            gathered, size = [], 0
    if gathered:
        chunks.append(b"".join(gathered))
    return chunks
