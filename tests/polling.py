"""Waiting for other processes: the only place in the tests that pauses."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

_PAUSE_S = 0.02
T = TypeVar("T")


def until(condition: Callable[[], object], what: str, within_s: float = 45.0) -> None:
    """Ask until `condition` is true. Fails the test, naming `what`, when the time is over."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(_PAUSE_S)


@overload
async def eventually(condition: Callable[[], Awaitable[T]], what: str, within_s: float = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], what: str, within_s: float = ...) -> T: ...
async def eventually(condition: Callable[[], object], what: str, within_s: float = 45.0) -> object:
    """Like `until`, in an event loop; `condition` may be a coroutine function. Returns its first true answer."""
    deadline = time.monotonic() + within_s
    while True:
        asked = condition()
        answer = await asked if isinstance(asked, Awaitable) else asked
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(_PAUSE_S)
