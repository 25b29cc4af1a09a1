"""The parker: a connection whose provider says that it will not work is shut until that may have changed."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from scheduler.domain.outcome import Fatal, FatalScope
from scheduler.services.budgets.parkings import Parkings
from scheduler.services.budgets.pausing import ALL_MODELS

AGAIN_S = 1.0
"""Calls that were in flight together are refused together: within this time the first of them speaks for all."""
REMEMBERED = 1_000


class Parker:
    """Parks what a fatal answer makes useless. clock: monotonic seconds."""

    def __init__(self, parkings: Parkings, clock: Callable[[], float]) -> None:
        self._parkings = parkings
        self._clock = clock
        self._parked_s: dict[tuple[UUID, str], float] = {}

    async def park(self, shard: int, connection_id: UUID, model: str, end: Fatal) -> bool:
        """Shut the connection, or its model; False when the engine could not be told. Expects an end that is not about
        the item."""
        shut = model if end.scope is FatalScope.MODEL else ALL_MODELS
        known, now_s = (connection_id, shut), self._clock()
        if now_s - self._parked_s.get(known, float("-inf")) < AGAIN_S:
            return True
        if len(self._parked_s) >= REMEMBERED:
            self._parked_s.clear()
        self._parked_s[known] = now_s
        done = await self._parkings.park(
            shard, connection_id, shut, code=end.code, reason=end.reason, told_ms=end.after_ms
        )
        if not done:
            del self._parked_s[known]
        return done
