"""The beat: this process's sign of life, with its figures, for status and doctor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.ports.shards import STOPPED, WORKER, ShardStore
from workers.living import Living

INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Beaten:
    """What was written."""

    info: Mapping[str, Any]


class Beat:
    """info: asked for at each beat. living: told of those of all workers."""

    def __init__(
        self,
        store: ShardStore,
        holder: str,
        info: Callable[[], Mapping[str, Any]],
        living: Living,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._holder = holder
        self._info = info
        self._living = living
        self._clock = clock

    async def run_once(self) -> Beaten:
        """Write the sign of life."""
        info = self._info()
        asked_s = self._clock()
        others = await self._store.beat(self._holder, WORKER, info)
        self._living.observe({**others, self._holder: 0.0}, asked_s)
        return Beaten(info)

    async def withdraw(self) -> None:
        """Write the last one, with the last figures: this process holds nothing, and counts as alive no longer. Not
        beside `run_once`, which would bring it back. Raises Unavailable."""
        await self._store.beat(self._holder, STOPPED, self._info())
