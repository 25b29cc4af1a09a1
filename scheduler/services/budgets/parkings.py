"""Connections that are parked: noted in Postgres, shut in the engine, opened again when due or by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from scheduler import metrics
from scheduler.domain.errors import Unavailable
from scheduler.domain.parking import Parking, due_at
from scheduler.domain.work import PauseCause
from scheduler.ports.engine import Engine
from scheduler.ports.parkings import ParkingStore
from scheduler.ports.store import Store
from scheduler.services.budgets.pausing import budget_of, shut_budget

_log = structlog.get_logger(__name__)


class Parkings:
    """Parks connections, or single models of them. otherwise: for how long, where the provider does not say."""

    def __init__(
        self, parkings: ParkingStore, engine: Engine, otherwise: timedelta, now: Callable[[], datetime]
    ) -> None:
        self._parkings = parkings
        self._engine = engine
        self._otherwise = otherwise
        self._now = now

    async def park(
        self, shard: int, connection_id: UUID, model: str, *, code: str, reason: str, told_ms: int | None
    ) -> bool:
        """Shut the connection (or one model of it) until it is due; False when the engine could not be told.

        The engine first: what comes back meanwhile must find it shut. The row makes it outlive Redis; where Postgres is
        away now, the next refused call after a loss of Redis notes it.
        """
        now = self._now()
        due = due_at(now, told_ms, self._otherwise)
        shut = True
        try:
            await _shut(self._engine, shard, connection_id, model, due - now, reason)
        except Unavailable:
            shut = False
        _log.warning(
            "connection.parked",
            connection_id=str(connection_id),
            model=model or None,
            code=code,
            reason=reason,
            due_at=due.isoformat(),
        )
        metrics.PARKINGS.labels("model" if model else "connection").inc()
        try:
            await self._parkings.park(Parking(connection_id, model, code, reason, now, due))
        except Unavailable as error:
            _log.warning("parking.unstored", connection_id=str(connection_id), reason=error.message)
        return shut

    def lasts_ms(self, told_ms: int | None) -> int:
        """For how long it is shut, where the provider told so much."""
        now = self._now()
        return int((due_at(now, told_ms, self._otherwise) - now).total_seconds() * 1000)

    async def in_force(self, environment_id: UUID) -> Sequence[Parking]:
        """What is parked in an environment. Raises Unavailable."""
        return await self._parkings.parked(self._now(), environment_id=environment_id)


async def reapply(store: Store, engine: Engine, shard: int, environments: Collection[UUID], now: datetime) -> int:
    """After a loss of Redis: shut again what is parked in these environments. Answers how many."""
    parked = [each for each in await store.parkings.parked(now) if each.environment_id in environments]
    for each in parked:
        await _shut(engine, shard, each.connection_id, each.model, each.due_at - now, each.reason)
    if parked:
        # Somebody may have resumed one while we read: then its row is gone, and it must not stay shut.
        left = {(each.connection_id, each.model) for each in await store.parkings.parked(now)}
        for each in parked:
            if (each.connection_id, each.model) not in left:
                await engine.resume_budget(shard, budget_of(each.connection_id, each.model))
    return len(parked)


async def _shut(engine: Engine, shard: int, connection_id: UUID, model: str, span: timedelta, reason: str) -> None:
    pause_ms = max(0, int(span.total_seconds() * 1000))
    await shut_budget(engine, shard, connection_id, model, pause_ms, reason, PauseCause.TROUBLE)
