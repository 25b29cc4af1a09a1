"""The events of a batch as SSE frames: read from Postgres in order, from any number on; the feed only says
when."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import structlog

from scheduler.domain.batch import Batch, BatchAction, BatchEvent, Event, Item, ItemEvent
from scheduler.domain.ids import ItemIds
from scheduler.domain.status import ItemStatus
from scheduler.domain.work import Started
from scheduler.ports.store import Store
from scheduler.services.batches.frames import event_frame, one_line, running_frame
from scheduler.services.batches.views import encode, item_view
from scheduler.services.callers.tenants import Tenants

PAGE_EVENTS = 500
"""Most events read at once: one frame each, but one write for many, which is ten times cheaper."""
READ_BYTES = 4 << 20
"""About what one read may bring; where bodies are large, fewer events are read at once."""
_FIRST_EVENTS = 64
PAGE_BYTES = 1 << 20
_RUNNING_PAGE = 200
LOOK_S = 5.0
"""After this long without news a reader looks in Postgres all the same: the feed may lose anything."""
FIRST_NEWS_S = 0.05
"""The creator of a batch waits so long for its first items to start, before it reads what ended already."""
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"errorCode":"%s","errorMessage":"%s"}}\n\ndata: [ERROR]\n\n'

Render: TypeAlias = Callable[[Sequence[Event]], Awaitable[list[bytes]]]
"""Events to bytes, one for one; empty for those that are not shown."""

_log = structlog.get_logger(__name__)


class News(Protocol):
    """What the live feed heard. last_event: newest event number (0: none heard). running: items that
    started."""

    @property
    def last_event(self) -> int: ...
    @property
    def running(self) -> tuple[Started, ...]: ...


class Watch(Protocol):
    """One reader's view of the feed of one batch."""

    async def next(self, timeout_s: float) -> News | None:
        """Wait for news; None after timeout_s without any."""
        ...


class Feed(Protocol):
    """The live feeds of all batches."""

    def watch(
        self, shard: int, workspace_id: object, environment_id: object, batch_id: object, *, from_start: bool = False
    ) -> AbstractAsyncContextManager[Watch]:
        """Follow one batch from now on; from_start: with what its feed holds already."""
        ...


class EventStream:
    """Streams of events. Any number of readers may follow one batch; they share nothing but Postgres."""

    def __init__(self, store: Store, feed: Feed, tenants: Tenants) -> None:
        self._store = store
        self._feed = feed
        self._tenants = tenants

    async def frames(self, batch: Batch, after: int, *, created: bool = False) -> AsyncIterator[bytes]:
        """Frames with a number above `after` (0: from the start), several to a chunk, `[DONE]` at the end
        of the batch. created: the reader has just created the batch, so items that started meanwhile are live to it.

        When it fails, an error frame and `[ERROR]` end it: the caller resumes with the last id that it saw.
        """
        try:
            ids = ItemIds(batch.batch_id)

            async def frames_of(events: Sequence[Event]) -> list[bytes]:
                return [event_frame(event, ids) for event in events]

            async for chunk in self._follow(batch, after, frames_of, started=True, created=created):
                yield chunk
            yield DONE
        except Exception as error:
            _log.exception("events.stream_failed", batch_id=str(batch.batch_id), error=type(error).__name__)
            yield ERROR % (b"UNAVAILABLE", b"The stream was interrupted; resume it with Last-Event-ID.")

    async def lines(
        self, batch: Batch, after: int, statuses: frozenset[ItemStatus], *, follow: bool
    ) -> AsyncIterator[bytes]:
        """Finished items of these statuses as NDJSON, in order of their events after `after`. follow: until the batch
        ends; else what is recorded now. An end that a retry has undone by then is left out."""
        ids = ItemIds(batch.batch_id)

        def line(event: Event, runs: Mapping[int, int]) -> bytes:
            if not isinstance(event, ItemEvent) or event.item.status not in statuses:
                return b""
            if event.item.run != runs.get(event.item.seq, 1):
                return b""
            return one_line(encode(item_view(event.item, ids))) + b"\n"

        async def lines_of(events: Sequence[Event]) -> list[bytes]:
            seqs = [event.item.seq for event in events if isinstance(event, ItemEvent)]
            runs = await self._store.items.retried_runs(batch.batch_id, seqs) if seqs else {}
            return [line(event, runs) for event in events]

        if not follow:
            async for chunk in _Reader(self._store, batch, after, lines_of).recorded():
                yield chunk
            return
        async for chunk in self._follow(batch, after, lines_of, started=False):
            yield chunk

    async def _follow(
        self, batch: Batch, after: int, render: Render, *, started: bool, created: bool = False
    ) -> AsyncIterator[bytes]:
        shard = await self._tenants.shard_of(batch.environment_id)
        address = (batch.workspace_id, batch.environment_id, batch.batch_id)
        async with self._feed.watch(shard, *address, from_start=created) as watch:
            reader = _Reader(self._store, batch, after, render)
            if created and started:
                async for chunk in self._first(reader, watch):
                    yield chunk
            while True:
                async for chunk in reader.recorded():
                    yield chunk
                if await reader.at_end():
                    return
                if reader.unsure:
                    continue
                news = await watch.next(LOOK_S)
                while news is not None:
                    async for chunk in reader.started(news.running if started else ()):
                        yield chunk
                    if news.last_event > reader.after:
                        break
                    news = await watch.next(LOOK_S)
                reader.unsure = news is None

    async def _first(self, reader: _Reader, watch: Watch) -> AsyncIterator[bytes]:
        """batch-created, then what has started since: a provider that answers at once would else be told of by the
        end of its items only."""
        async for chunk in reader.recorded(most=1):
            yield chunk
        news = await watch.next(FIRST_NEWS_S)
        async for chunk in reader.started(news.running if news is not None else ()):
            yield chunk


class _Reader:
    """One reader's place in a batch's history. after: number of the last event that was sent. unsure: the
    batch may have ended, as far as we know."""

    __slots__ = ("_batch", "_ids", "_limit", "_render", "_store", "after", "unsure")

    def __init__(self, store: Store, batch: Batch, after: int, render: Render) -> None:
        self._store = store
        self._batch = batch
        self._ids = ItemIds(batch.batch_id)
        self._render = render
        self._limit = _FIRST_EVENTS
        self.after = after
        self.unsure = True

    async def recorded(self, most: int | None = None) -> AsyncIterator[bytes]:
        """All events that Postgres holds by now, rendered; only the next ones, when there may be `most`."""
        while True:
            limit = most or self._limit
            events = await self._store.outcomes.events(self._batch.batch_id, after=self.after, limit=limit)
            rendered = await self._render(events)
            for chunk in _chunks(rendered):
                yield chunk
            if events:
                self.after = events[-1].event_no
                self.unsure = self.unsure or any(map(_may_end, events))
                average = sum(map(len, rendered)) // len(events) + 1
                self._limit = max(1, min(PAGE_EVENTS, READ_BYTES // average))
            if most is not None or len(events) < limit:
                return

    async def at_end(self) -> bool:
        """Whether the batch has ended and all of it was sent; asks only when there is a reason to."""
        if not self.unsure:
            return False
        latest = await self._store.batches.get(self._batch.environment_id, self._batch.batch_id)
        if latest is None:
            return True
        # An end that came after our read is read in the next round, which is due at once.
        self.unsure = latest.ended
        return latest.ended and self.after >= latest.last_event

    async def started(self, running: Sequence[Started]) -> AsyncIterator[bytes]:
        """Frames of items that started, except those whose end was already sent."""
        for start in range(0, len(running), _RUNNING_PAGE):
            at_ms = dict(running[start : start + _RUNNING_PAGE])
            items = await self._store.items.items(self._batch.batch_id, list(at_ms))
            frames = [running_frame(item, self._ids, at_ms[item.seq]) for item in items if not _told(item, self.after)]
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
    if size:
        chunks.append(b"".join(gathered))
    return chunks
