"""The thin loop that all duties share."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from scheduler.domain.errors import Unavailable

LONGEST_BACKOFF_S = 2.0
TOLD_AFTER_S = 1.0

_log = structlog.get_logger(__name__)


class Outage:
    """Tells of a store that is away to one duty: once it is away for TOLD_AFTER_S, then each time that it was away for
    twice as long, and when it is back. Fifteen duties that told each of their tries would bury what else happens."""

    def __init__(self, duty: str) -> None:
        """Name the duty."""
        self._duty = duty
        self._since_s: float | None = None
        self._told_after_s = TOLD_AFTER_S

    def goes_on(self, problem: str, now_s: float) -> None:
        """Note a try that failed."""
        if self._since_s is None:
            self._since_s, self._told_after_s = now_s, TOLD_AFTER_S
        lasted_s = now_s - self._since_s
        if lasted_s >= self._told_after_s:
            _log.warning("duty.store_unavailable", duty=self._duty, for_s=round(lasted_s, 1), reason=problem)
            self._told_after_s = 2 * lasted_s

    def over(self, now_s: float) -> None:
        """Note a run that was good."""
        if self._since_s is not None and self._told_after_s > TOLD_AFTER_S:
            _log.info("duty.store_back", duty=self._duty, after_s=round(now_s - self._since_s, 1))
        self._since_s = None


async def every(
    interval_s: Callable[[], float] | float,
    run_once: Callable[[], Awaitable[object]],
    stop: asyncio.Event,
    *,
    name: str,
) -> None:
    """Run a duty again and again until `stop`, with `interval_s` (± 10 %, so replicas spread) between two
    runs.

    A store that is away is met with growing patience (`Outage` says what is told of it); any other error is logged
    and the duty goes on: one bad run must not end a process that holds leases.
    """
    failures = 0
    outage = Outage(name)
    while not stop.is_set():
        try:
            await run_once()
            failures = 0
            outage.over(time.monotonic())
            pause_s = interval_s() if callable(interval_s) else interval_s
        except Unavailable as problem:
            failures += 1
            pause_s = backoff_s(failures)
            outage.goes_on(problem.message, time.monotonic())
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
