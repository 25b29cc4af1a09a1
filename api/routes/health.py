"""Whether this process lives, and whether everything that it needs is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.errors import answer
from api.exchange import answered
from api.wiring import services_of
from scheduler.domain.errors import BrimError

router = APIRouter(prefix="/health", tags=["health"])
_PATIENCE_S = 2.0
_log = structlog.get_logger(__name__)


@router.get("/live")
async def live() -> Response:
    """200 as long as the process answers."""
    return answered({"status": "live"})


@router.get("/ready")
async def ready(request: Request) -> Response:
    """200 only when Redis, Postgres and the migrations are good."""
    services = services_of(request)
    redis, postgres = await asyncio.gather(_good(services.engine.ping()), _good(services.store.ready()))
    if redis and postgres:
        return answered({"status": "ready"})
    missing = [name for name, good in (("redis", redis), ("postgres", postgres)) if not good]
    return answer("UNAVAILABLE", f"Not ready: {', '.join(missing)}.", {"missing": missing}, {"Retry-After": "1"})


async def _good(check: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return bool(await check)
    except (BrimError, TimeoutError) as error:
        _log.warning("health.check_failed", error=type(error).__name__)
        return False
