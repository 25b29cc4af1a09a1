"""Answers that hold a batch, alone or with its items; long lists are streamed page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from msgspec import Raw
from starlette.responses import Response, StreamingResponse

from api.exchange import answered
from api.wiring import Services
from scheduler.domain.batch import Batch, Item
from scheduler.domain.errors import Invalid
from scheduler.domain.ids import ItemIds
from scheduler.services.batches.views import BatchView, batch_view, encode, item_view, recorded_item_view

_PAGE_ITEMS = 200


async def batch_answer(services: Services, batch: Batch, status: int = 200) -> Response:
    """A batch with its live counts, without items."""
    counts = await services.progress.counts(batch)
    outlook = await services.explaining.outlook(batch)
    return answered(batch_view(batch, counts, now=datetime.now(UTC), outlook=outlook), status)


async def with_items(
    services: Services,
    batch: Batch,
    view: BatchView,
    status: int,
    *,
    limit: int | None = None,
    after: UUID | None = None,
    live: bool = True,
) -> Response:
    """A batch with its items: all of them, streamed, or a page of `limit` after the item `after`. live: show what runs
    by now; else the items as they were when `batch` was read. Raises Invalid when `after` is no item of the batch."""
    ids = ItemIds(batch.batch_id)
    after_seq = 0
    if after is not None:
        seq = ids.seq_of(after)
        if seq is None:
            raise Invalid("itemsAfter is no item of this batch.")
        after_seq = seq
    if limit is not None:
        items = await services.store.items.page(batch.batch_id, after_seq=after_seq, limit=limit + 1)
        shown = items[:limit]
        encoded = await _encoded(services, batch, ids, shown, live)
        page = msgspec.structs.replace(
            view,
            items=Raw(b"[" + b",".join(encoded) + b"]"),
            next_items_after=ids.of(shown[-1].seq) if len(items) > limit else None,
        )
        return answered(page, status)
    first = await services.store.items.page(batch.batch_id, after_seq=after_seq, limit=_PAGE_ITEMS)
    stream = _stream(services, batch, ids, view, first, live)
    return StreamingResponse(stream, status, media_type="application/json")


async def _stream(
    services: Services, batch: Batch, ids: ItemIds, view: BatchView, page: Sequence[Item], live: bool
) -> AsyncIterator[bytes]:
    yield encode(view)[:-1] + b',"items":['
    separator = b""
    while page:
        yield separator + b",".join(await _encoded(services, batch, ids, page, live))
        separator = b","
        if len(page) < _PAGE_ITEMS:
            break
        page = await services.store.items.page(batch.batch_id, after_seq=page[-1].seq, limit=_PAGE_ITEMS)
    yield b"]}"


async def _encoded(services: Services, batch: Batch, ids: ItemIds, items: Sequence[Item], live: bool) -> list[bytes]:
    if not live:
        return [encode(recorded_item_view(item, ids, batch)) for item in items]
    standings = await services.progress.standings(batch, items)
    return [encode(item_view(item, ids, standings[item.seq])) for item in items]
