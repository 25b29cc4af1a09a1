"""Metrics of this process, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

router = APIRouter(tags=["operation"])


@router.get("/metrics")
async def metrics() -> Response:
    """All metrics in the text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
