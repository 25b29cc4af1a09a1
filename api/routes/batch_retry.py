"""Run the failed items of a batch again."""

from __future__ import annotations

import asyncio
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import ManageCaller
from api.batch_answers import batch_answer
from api.documentation import gives, takes_optionally
from api.exchange import SETUP_BODY_BYTES, read_body
from api.routes.completion_batches import find_batch
from api.schemas import RetryBody
from api.wiring import services_of
from scheduler.services.batches.views import BatchView
from scheduler.services.reading.json_text import decoded

router = APIRouter(prefix="/v1/completion-batch/{workspaceId}/{environmentId}", tags=["completion batches"])


@router.post("/{batchId}/retry", openapi_extra=takes_optionally(RetryBody) | gives(BatchView))
async def retry_batch(
    request: Request, workspaceId: UUID, environmentId: UUID, batchId: UUID, _principal: ManageCaller
) -> Response:
    """Run the FAILED items of an ended batch again: all of them, or those that the body names.

    Lines of an upload that were no items (`Prefer: early-start`) stay FAILED, as they are: nothing could be run.
    """
    services = services_of(request)
    raw = await read_body(request, SETUP_BODY_BYTES)
    items = decoded(raw, RetryBody).items if raw.strip() else None
    await find_batch(services, workspaceId, environmentId, batchId)
    # A caller that goes away must not leave a retry half carried to the engine.
    batch = await asyncio.shield(services.reopening.retry(environmentId, batchId, items))
    return await batch_answer(services, batch)
