"""Metrics of Brim's processes, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    generate_latest,
)
from starlette.responses import Response

from api.wiring import services_of
from scheduler import metrics as brim
from scheduler.domain.errors import Unavailable

router = APIRouter(tags=["operation"])

ALIVE_WITHIN_S = 30.0
_OWN = CollectorRegistry()
for _collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
    _OWN.register(_collector)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """This process's own figures, and Brim's metrics of it and of all live workers, by the label `process`."""
    processes = {"api": brim.snapshot()}
    try:
        for beat in await services_of(request).store.shards.alive(ALIVE_WITHIN_S):
            samples = beat["info"].get("metrics")
            if isinstance(samples, dict):
                processes[str(beat["holder"])] = samples
    except Unavailable:
        # Postgres is away: what this process knows of itself is worth more than nothing.
        processes = {"api": brim.snapshot()}
    text = generate_latest(_OWN) + brim.exposition(processes).encode()
    return Response(text, media_type=CONTENT_TYPE_LATEST)
