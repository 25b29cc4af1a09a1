"""Waiting for other processes: the only place in the tests that pauses."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

_PAUSE_S = 0.02


def until(condition: Callable[[], object], what: str, within_s: float = 15.0) -> None:
    """Ask until `condition` is true. Fails the test, naming `what`, when the time is over."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(_PAUSE_S)


async def eventually(
    condition: Callable[[], object] | Callable[[], Awaitable[object]], what: str, within_s: float = 15.0
) -> None:
    """Like `until`, in an event loop; `condition` may be a coroutine function."""
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(_PAUSE_S)
