"""The thin loop that all duties share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from scheduler.domain.errors import Unavailable

LONGEST_BACKOFF_S = 2.0

_log = structlog.get_logger(__name__)


async def every(
    interval_s: Callable[[], float] | float,
    run_once: Callable[[], Awaitable[object]],
    stop: asyncio.Event,
    *,
    name: str,
) -> None:
    """Run a duty again and again until `stop`, with `interval_s` (± 10 %, so replicas spread) between two
    runs.

    A store that is away is met with growing patience; any other error is logged and the duty goes on: one
    bad run must not end a process that holds leases.
    """
    failures = 0
    while not stop.is_set():
        try:
            await run_once()
            failures = 0
            pause_s = interval_s() if callable(interval_s) else interval_s
        except Unavailable as problem:
            failures += 1
            pause_s = backoff_s(failures)
            _log.warning("duty.store_unavailable", duty=name, problem=problem.message)
        except Exception:
            failures += 1
            pause_s = backoff_s(failures)
            _log.exception("duty.failed", duty=name)
        await pause(pause_s * random.uniform(0.9, 1.1), stop)


def begin(
    interval_s: Callable[[], float] | float,
    run_once: Callable[[], Awaitable[object]],
    stop: asyncio.Event,
    *,
    name: str,
) -> asyncio.Task[None]:
    """Run a duty (see `every`) in a task of its own."""
    return asyncio.create_task(every(interval_s, run_once, stop, name=name), name=name)


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, but no longer than until `stop` is set."""
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def backoff_s(failures: int) -> float:
    """0.1 s, doubling, at most LONGEST_BACKOFF_S."""
    return min(LONGEST_BACKOFF_S, 0.1 * 2.0 ** min(failures - 1, 10))
