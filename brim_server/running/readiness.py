"""Waits until a process of ours answers over HTTP."""

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from brim_server.running.failure import StartFailed

_POLL_S = 0.05
_ONE_TRY_S = 2.0
# A proxy of the environment must not be asked for an address of this machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


async def wait_until_ready(url: str, died: Callable[[], str | None], timeout_s: float) -> None:
    """Ask `url` until it answers 200.

    `died` says why there is no point in waiting any longer, or None. Raises StartFailed with that reason or,
    when the time is over, with the last answer.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = await asyncio.to_thread(_ask, url)
        if answer is None:
            return
        reason = died()
        if reason is not None:
            raise StartFailed(reason)
        if time.monotonic() > deadline:
            raise StartFailed(f"{url} was not ready within {timeout_s:.0f} s: {answer}")
        await asyncio.sleep(_POLL_S)


def _ask(url: str) -> str | None:
    """Return None when it is ready, otherwise what was wrong."""
    try:
        with _direct.open(url, timeout=_ONE_TRY_S) as response:
            return None if response.status == 200 else f"status {response.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read(500).decode(errors='replace')}"
    except OSError as error:
        return str(error)
