"""The worker process: one event loop, ended by SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal

import uvloop

from scheduler.bootstrap import open_core
from scheduler.logs import configure_logs
from scheduler.settings import Settings
from workers.worker import Worker

GC_THRESHOLD = 50_000
"""New objects between two collections. An attempt leaves none to collect but makes hundreds; at Python's own 700 the
collector walked the calls in flight again and again (4,950 items a second over HTTP against 5,770)."""


def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT, drain, and answer the exit code: 0 after a clean end."""
    configure_logs(settings, "worker")
    return uvloop.run(_main(settings))


async def _main(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_core(settings) as core:
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 20)
        worker = Worker(settings, core.store, core.engine, core.engine.bell, core.recovery, core.vault, core.files)
        with contextlib.suppress(asyncio.CancelledError):
            await worker.run(stop)
    return 0
