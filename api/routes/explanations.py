"""Why a batch or an item waits, and until when."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import GetCaller
from api.documentation import gives
from api.exchange import answered
from api.routes.completion_batches import find_batch
from api.wiring import services_of
from scheduler.domain.errors import NotFound
from scheduler.domain.ids import ItemIds
from scheduler.services.explain.views import BatchExplanation, ItemExplanation

router = APIRouter(prefix="/v1/completion-batch/{workspaceId}/{environmentId}", tags=["completion batches"])


@router.get("/{batchId}/explain", openapi_extra=gives(BatchExplanation))
async def explain_batch(
    request: Request, workspaceId: UUID, environmentId: UUID, batchId: UUID, _principal: GetCaller
) -> Response:
    """Why a batch is not done yet: which limit binds, what goes first, when it ends."""
    services = services_of(request)
    batch = await find_batch(services, workspaceId, environmentId, batchId)
    return answered(await services.explaining.batch(batch))


@router.get("/{batchId}/{itemId}/explain", openapi_extra=gives(ItemExplanation))
async def explain_item(
    request: Request, workspaceId: UUID, environmentId: UUID, batchId: UUID, itemId: UUID, _principal: GetCaller
) -> Response:
    """Why an item waits: which limit binds, what goes before it, when it starts and ends."""
    services = services_of(request)
    batch = await find_batch(services, workspaceId, environmentId, batchId)
    seq = ItemIds(batchId).seq_of(itemId)
    item = None if seq is None else await services.store.items.item(environmentId, batchId, seq)
    if item is None:
        raise NotFound("There is no such item.", code="COMPLETION_BATCH_ITEM_NOT_FOUND")
    return answered(await services.explaining.item(batch, item))
