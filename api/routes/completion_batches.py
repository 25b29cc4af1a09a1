"""Completion batches: create, list, read, cancel, pause, resume."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from api.auth import CancelCaller, CreateCaller, GetCaller, ManageCaller
from api.batch_answers import batch_answer, with_items
from api.documentation import gives, gives_events, takes, takes_lines_too
from api.exchange import SETUP_BODY_BYTES, answered, read_body
from api.schemas import BatchPage, ChangeBatch, CreateBatch
from api.sse import event_source, last_event_id
from api.uploads import body_of, is_ndjson, wants_early_start
from api.wiring import Services, services_of
from scheduler.domain.batch import Batch
from scheduler.domain.errors import NotFound
from scheduler.domain.ids import ItemIds
from scheduler.domain.status import BatchStatus, BatchType
from scheduler.services.batches.control import not_found
from scheduler.services.batches.creation import CreateRequest
from scheduler.services.batches.progress import counts_of
from scheduler.services.batches.views import BatchView, ItemView, batch_view, item_view
from scheduler.services.items.check import ItemBody
from scheduler.services.uploads.upload import UploadRequest

router = APIRouter(prefix="/v1/completion-batch/{workspaceId}/{environmentId}", tags=["completion batches"])
_CREATED = {"responses": gives(BatchView, 201)["responses"] | gives_events(200)["responses"]}


async def find_batch(services: Services, workspace_id: UUID, environment_id: UUID, batch_id: UUID) -> Batch:
    """The batch of a path. Raises NotFound COMPLETION_BATCH_NOT_FOUND."""
    batch = await services.store.batches.get(environment_id, batch_id)
    if batch is None or batch.workspace_id != workspace_id:
        raise not_found()
    return batch


@router.post("", status_code=201, openapi_extra=takes_lines_too(CreateBatch, ItemBody) | _CREATED)
async def create_batch(
    request: Request,
    workspaceId: UUID,
    environmentId: UUID,
    principal: CreateCaller,
    idempotency_key: Annotated[str | None, Header()] = None,
    includesItems: bool = False,
) -> Response:
    """Create a batch. SYNC answers with its events, the others with the batch.

    As application/x-ndjson (gzip allowed) the first line is the batch without items, each other line an item; with
    `Prefer: early-start` they run as they come.
    """
    services = services_of(request)
    after = last_event_id(request)
    if is_ndjson(request):
        created = await services.uploads.create(
            UploadRequest(
                workspaceId,
                environmentId,
                principal,
                body_of(request),
                encoding=request.headers.get("content-encoding", ""),
                early=wants_early_start(request),
                idempotency_key=idempotency_key,
            )
        )
    else:
        with services.room.share() as share:
            raw = await read_body(request, services.settings.max_body_bytes, share)
            asked = CreateRequest(workspaceId, environmentId, principal, raw, idempotency_key)
            created = await services.creation.create(asked)
    batch = created.batch
    if batch.type is BatchType.SYNC:
        return event_source(services.events.frames(batch, after, created=not created.earlier))
    view = batch_view(batch, counts_of(batch, 0), outlook=await services.explaining.outlook(batch))
    if includesItems:
        return await with_items(services, batch, view, 201, live=False)
    return answered(view, 201)


@router.get("", openapi_extra=gives(BatchPage))
async def list_batches(
    request: Request,
    workspaceId: UUID,
    environmentId: UUID,
    principal: GetCaller,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: UUID | None = None,
    status: BatchStatus | None = None,
) -> Response:
    """List batches, newest first."""
    services = services_of(request)
    await services.tenants.require(principal, workspaceId, environmentId)
    page = await services.store.batches.list(environmentId, limit=limit, after=after, status=status)
    counts = await services.progress.counts_of_all(page.data)
    now = datetime.now(UTC)
    return answered(
        {
            "data": [batch_view(batch, counts[batch.batch_id], now=now) for batch in page.data],
            "hasMore": page.next_after is not None,
            "nextAfter": page.next_after,
        }
    )


@router.get("/{batchId}", openapi_extra=gives(BatchView))
async def get_batch(
    request: Request,
    workspaceId: UUID,
    environmentId: UUID,
    batchId: UUID,
    _principal: GetCaller,
    includesUsers: bool = True,
    includesItems: bool = True,
    itemsLimit: Annotated[int | None, Query(ge=1, le=1000)] = None,
    itemsAfter: UUID | None = None,
) -> Response:
    """Read a batch: with all its items (streamed), a page of them, or none."""
    services = services_of(request)
    batch = await find_batch(services, workspaceId, environmentId, batchId)
    counts = await services.progress.counts(batch)
    outlook = await services.explaining.outlook(batch)
    view = batch_view(batch, counts, users=includesUsers, now=datetime.now(UTC), outlook=outlook)
    if not includesItems:
        return answered(view)
    return await with_items(services, batch, view, 200, limit=itemsLimit, after=itemsAfter)


@router.patch("/{batchId}", openapi_extra=takes(ChangeBatch) | gives(BatchView))
async def change_batch(
    request: Request, workspaceId: UUID, environmentId: UUID, batchId: UUID, _principal: ManageCaller
) -> Response:
    """Change priority, capacity or deadline of a live batch."""
    services = services_of(request)
    change = services.changing.read(await read_body(request, SETUP_BODY_BYTES))
    await find_batch(services, workspaceId, environmentId, batchId)
    batch = await asyncio.shield(services.changing.change(environmentId, batchId, change))
    return await batch_answer(services, batch)


@router.post("/{batchId}/cancel", status_code=201, openapi_extra=gives(BatchView, 201))
async def cancel_batch(
    request: Request, workspaceId: UUID, environmentId: UUID, batchId: UUID, _principal: CancelCaller
) -> Response:
    """Cancel a batch: no new provider call starts after the answer."""
    services = services_of(request)
    await find_batch(services, workspaceId, environmentId, batchId)
    # A caller that goes away while we wait must not leave a cancel half done.
    batch = await asyncio.shield(services.control.cancel(environmentId, batchId))
    return await batch_answer(services, batch, 201)


@router.post("/{batchId}/pause", openapi_extra=gives(BatchView))
async def pause_batch(
    request: Request, workspaceId: UUID, environmentId: UUID, batchId: UUID, _principal: ManageCaller
) -> Response:
    """Hold the waiting items."""
    services = services_of(request)
    await find_batch(services, workspaceId, environmentId, batchId)
    return await batch_answer(services, await services.control.pause(environmentId, batchId))


@router.post("/{batchId}/resume", openapi_extra=gives(BatchView))
async def resume_batch(
    request: Request, workspaceId: UUID, environmentId: UUID, batchId: UUID, _principal: ManageCaller
) -> Response:
    """Let the waiting items go on."""
    services = services_of(request)
    await find_batch(services, workspaceId, environmentId, batchId)
    return await batch_answer(services, await services.control.resume(environmentId, batchId))


item_router = APIRouter(prefix=router.prefix, tags=["completion batches"])


@item_router.get("/{batchId}/{itemId}", openapi_extra=gives(ItemView))
async def get_item(
    request: Request,
    workspaceId: UUID,
    environmentId: UUID,
    batchId: UUID,
    itemId: UUID,
    _principal: GetCaller,
) -> Response:
    """Read one item, with its response once COMPLETED."""
    services = services_of(request)
    batch = await find_batch(services, workspaceId, environmentId, batchId)
    ids = ItemIds(batchId)
    seq = ids.seq_of(itemId)
    item = None if seq is None else await services.store.items.item(environmentId, batchId, seq)
    if item is None:
        raise NotFound("There is no such item.", code="COMPLETION_BATCH_ITEM_NOT_FOUND")
    standings = await services.progress.standings(batch, [item])
    return answered(item_view(item, ids, standings[item.seq]))
