"""One canonical log line per request, and the last net under everything that goes wrong."""

from __future__ import annotations

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.failures import internal_error
from scheduler.services.callers.keys import KeyHolder

_QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})
_READS = frozenset({"GET", "HEAD"})
_SLOW_S = 1.0
_log = structlog.get_logger(__name__)


class AccessLog:
    """ASGI middleware. It logs the route's template, never query strings, headers or bodies. Reads that were answered
    well and soon are told at level debug: clients that wait for a batch ask every second."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        status = 0
        sent_bytes = 0

        async def counting(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counting)
        except Exception:
            _log.exception("request.failed", method=scope["method"], route=_route(scope))
            if status == 0:
                await internal_error(scope["path"])(scope, receive, counting)
        finally:
            lasted_s = time.monotonic() - started_s
            read_well = scope["method"] in _READS and 200 <= status < 400 and lasted_s < _SLOW_S
            log = _log.debug if scope["path"] in _QUIET or read_well else _log.info
            principal = scope.get("state", {}).get("principal")
            log(
                "request.answered",
                method=scope["method"],
                route=_route(scope),
                status=status,
                duration_ms=round(lasted_s * 1000, 1),
                sent_bytes=sent_bytes,
                api_key_id=str(principal.key.api_key_id) if isinstance(principal, KeyHolder) else None,
            )


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return str(getattr(route, "path", "unmatched"))
