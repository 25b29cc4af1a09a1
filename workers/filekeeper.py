"""The file keeper: forgets files that expired, and removes what nobody refers to any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from scheduler.services.files.files import Files, Swept

INTERVAL_S = 15.0


class FileKeeper:
    """Every worker does it: drafts of a dead process are seen on its own machine only, and what two remove at once is
    removed once."""

    def __init__(self, files: Files, now: Callable[[], datetime]) -> None:
        self._files = files
        self._now = now

    async def run_once(self) -> Swept:
        """Sweep once."""
        return await self._files.sweep(self._now())
