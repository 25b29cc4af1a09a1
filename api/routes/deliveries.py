"""Callbacks of a batch and their state; send one again."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.auth import GetCaller, ManageCaller
from api.documentation import gives
from api.exchange import answered
from api.routes.completion_batches import find_batch
from api.schemas import DeliveryPage, ReplayedDeliveries
from api.wiring import services_of
from scheduler.domain.errors import NotFound
from scheduler.services.batches.delivery_views import DeliveryView, delivery_view

router = APIRouter(prefix="/v1/completion-batch/{workspaceId}/{environmentId}", tags=["completion batches"])
_REPLAYED_AT_ONCE = 10_000


@router.get("/{batchId}/deliveries", openapi_extra=gives(DeliveryPage))
async def list_deliveries(
    request: Request,
    workspaceId: UUID,
    environmentId: UUID,
    batchId: UUID,
    _principal: GetCaller,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: UUID | None = None,
    state: Literal["WAITING", "DELIVERED", "DEAD"] | None = None,
) -> Response:
    """List the callbacks of a batch, oldest first: all, or those of one state."""
    services = services_of(request)
    await find_batch(services, workspaceId, environmentId, batchId)
    page = await services.store.deliveries.list(batchId, after=after, limit=limit, state=state and state.lower())
    return answered(
        {
            "data": [delivery_view(batchId, each) for each in page.data],
            "hasMore": page.next_after is not None,
            "nextAfter": page.next_after,
        }
    )


@router.post("/{batchId}/deliveries/replay", status_code=202, openapi_extra=gives(ReplayedDeliveries, 202))
async def replay_dead_deliveries(
    request: Request, workspaceId: UUID, environmentId: UUID, batchId: UUID, _principal: ManageCaller
) -> Response:
    """Send the dead callbacks of a batch again, at most 10,000 at a time, the oldest first."""
    services = services_of(request)
    await find_batch(services, workspaceId, environmentId, batchId)
    replayed = await services.store.deliveries.replay_dead(batchId, _REPLAYED_AT_ONCE)
    return answered(ReplayedDeliveries(replayed), 202)


@router.post("/{batchId}/deliveries/{deliveryId}/replay", status_code=202, openapi_extra=gives(DeliveryView, 202))
async def replay_delivery(
    request: Request, workspaceId: UUID, environmentId: UUID, batchId: UUID, deliveryId: UUID, _principal: ManageCaller
) -> Response:
    """Send a callback again, whether it was delivered, is dead or waits. One that is on its way is left alone."""
    services = services_of(request)
    await find_batch(services, workspaceId, environmentId, batchId)
    replayed = await services.store.deliveries.replay(batchId, deliveryId)
    if replayed is None:
        raise NotFound("There is no such delivery.")
    return answered(delivery_view(batchId, replayed), 202)
