"""One API process: serves until SIGTERM or SIGINT, then ends its streams and itself within a few seconds."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import structlog
import uvicorn
import uvloop

from api.app import create_app
from api.connection import BoundedConnection, patience
from scheduler.bootstrap import open_core
from scheduler.logs import configure_logs
from scheduler.settings import Settings

GC_THRESHOLD = 50_000
"""New objects between two collections: requests leave none to collect, but a large one makes millions, and nobody else
runs while the collector walks them."""
GRACE_S = 3
"""How long open requests may go on after SIGTERM; streams end at once and are resumed elsewhere."""
_BACKLOG = 2048
_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn's own handling would raise the signal again after serving and so end us before we are done."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.handle_exit, name, None)
        yield


def run(settings: Settings) -> None:
    """Serve on settings.host and settings.port. Returns after SIGTERM or SIGINT, within five seconds.

    Raises OSError when the address is taken, Unavailable when Postgres cannot be reached.
    """
    configure_logs(settings, "api")
    # At debug it would log every frame, hence prompts and answers.
    logging.getLogger("sse_starlette").setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serve on the running loop."""
    with _listener(settings.host, settings.port) as listener:
        async with open_core(settings) as core:
            app = create_app(core)
            config = uvicorn.Config(
                app,
                loop="none",
                http=cast(Any, partial(BoundedConnection, **patience(settings))),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=GRACE_S,
            )
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD, 20, 20)
            address = listener.getsockname()
            _log.info("api.listening", host=address[0], port=address[1])
            await _Server(config).serve(sockets=[listener])
            _log.info("api.stopped")


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
