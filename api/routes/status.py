"""How the whole stands: for the admin."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import AdminCaller
from api.documentation import gives
from api.exchange import answered
from api.wiring import services_of
from scheduler.services.explain.headroom_views import StatusView

router = APIRouter(tags=["operation"])


@router.get("/v1/status", openapi_extra=gives(StatusView))
async def status(request: Request, _principal: AdminCaller) -> Response:
    """Live workers, queues that wait, active and standby counts."""
    return answered(await services_of(request).readings.status())
