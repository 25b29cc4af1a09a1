"""The real application on a real port, inside the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from api.app import create_app, described_app
from api.connection import HEAD_S, BoundedConnection, patience
from api.wiring import CoreWithFeed
from tests.polling import eventually

_unserved: list[FastAPI] = []


class _QuietServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(core: CoreWithFeed, head_s: float = HEAD_S) -> AsyncIterator[str]:
    """Serve the API of `core`; yields its URL."""
    described = _unserved.pop() if _unserved else described_app()
    config = uvicorn.Config(
        create_app(core, described),
        port=0,
        http=cast(Any, partial(BoundedConnection, head_s=head_s, **patience(core.settings))),
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, "the API serves")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
        _unserved.append(described)
