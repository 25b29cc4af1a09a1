"""What happened in a batch: its events as a live stream, its finished items as lines."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from api.auth import GetCaller
from api.documentation import gives_events, gives_lines
from api.routes.completion_batches import find_batch
from api.sse import event_source, last_event_id
from api.wiring import services_of
from scheduler.domain.status import FINAL_ITEM, ItemStatus
from scheduler.services.batches.views import ItemView

router = APIRouter(prefix="/v1/completion-batch/{workspaceId}/{environmentId}", tags=["completion batches"])


@router.get("/{batchId}/events", openapi_extra=gives_events())
async def batch_events(
    request: Request, workspaceId: UUID, environmentId: UUID, batchId: UUID, _principal: GetCaller
) -> Response:
    """Follow a batch of any type, from the start or from Last-Event-ID."""
    services = services_of(request)
    after = last_event_id(request)
    batch = await find_batch(services, workspaceId, environmentId, batchId)
    return event_source(services.events.frames(batch, after))


@router.get("/{batchId}/results", openapi_extra=gives_lines(ItemView))
async def batch_results(
    request: Request,
    workspaceId: UUID,
    environmentId: UUID,
    batchId: UUID,
    _principal: GetCaller,
    status: Literal["COMPLETED", "FAILED", "CANCELLED"] | None = None,
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    follow: bool = False,
) -> Response:
    """Finished items, one JSON object a line, in the order in which they ended."""
    services = services_of(request)
    batch = await find_batch(services, workspaceId, environmentId, batchId)
    statuses = FINAL_ITEM if status is None else frozenset({ItemStatus(status)})
    lines = services.events.lines(batch, after, statuses, follow=follow)
    return StreamingResponse(lines, media_type="application/x-ndjson")
