"""The urger: batches that will miss their deadline weigh more as it nears."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from scheduler.domain.batch import Batch
from scheduler.domain.urgency import urgency
from scheduler.domain.work import FlowRef
from scheduler.ports.engine import Engine, EpochLost
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import flow_ref
from scheduler.services.shards.recovery import Recovery

INTERVAL_S = 5.0
BATCHES = 500
"""Batches of a shard that are looked at: those with the nearest deadlines."""
FLOWS = 128
"""Flows of one call of the engine."""
SAME = 0.1
"""A weight that would change by less than this share stays."""
REFRESH_S = 60.0
"""A weight is told again after this, in case Redis has lost it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Urged:
    """One turn: batches with a deadline, and flows that were told another weight."""

    pressed: int = 0
    flows: int = 0


@dataclass(frozen=True, slots=True)
class _Told:
    version: int
    weight: float
    at: datetime


class Urger:
    """One process at a time, by advisory lock; a second one would only tell the same. utc_now: wall time."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        recovery: Recovery,
        live_shards: Callable[[], Sequence[int]],
        utc_now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._engine = engine
        self._recovery = recovery
        self._live_shards = live_shards
        self._utc_now = utc_now
        self._told: dict[UUID, _Told] = {}

    async def run_once(self) -> Urged:
        """Weigh the batches that have a deadline."""
        pressed = {shard: await self._store.outlook.pressed(shard, BATCHES) for shard in self._live_shards()}
        count = sum(map(len, pressed.values()))
        if not count:
            self._told.clear()
            return Urged()
        async with self._store.shards.exclusive("urge") as mine:
            if not mine:
                self._told.clear()
                return Urged(count)
            flows = 0
            for shard, batches in pressed.items():
                try:
                    flows += await self._weigh(shard, batches)
                except EpochLost as lost:
                    await self._recovery.ensure(lost.shard)
            live = {batch.batch_id for batches in pressed.values() for batch in batches}
            self._told = {batch_id: told for batch_id, told in self._told.items() if batch_id in live}
            return Urged(count, flows)

    async def _weigh(self, shard: int, batches: Sequence[Batch]) -> int:
        now = self._utc_now()
        changed: list[tuple[FlowRef, int, float]] = []
        for batch in batches:
            weight = _weight_of(batch, now)
            told = self._told.get(batch.batch_id)
            if _is_known(told, batch, weight, now):
                continue
            self._told[batch.batch_id] = _Told(batch.version, weight, now)
            flows = await self._store.batches.flows(batch.batch_id)
            changed += [(flow_ref(flow), batch.version, weight) for flow in flows]
        urged = 0
        for start in range(0, len(changed), FLOWS):
            urged += await self._engine.urge(shard, changed[start : start + FLOWS])
        if urged:
            _log.info("batches.urged", shard=shard, flows=urged)
        return urged


def _weight_of(batch: Batch, now: datetime) -> float:
    if batch.deadline is None:
        return batch.weight
    return batch.weight * urgency(
        finished=batch.finished,
        remaining=batch.total_items - batch.finished,
        elapsed_s=(now - batch.created_at).total_seconds(),
        left_s=(batch.deadline - now).total_seconds(),
    )


def _is_known(told: _Told | None, batch: Batch, weight: float, now: datetime) -> bool:
    """The engine has this weight, as far as we know, or one that is as good."""
    if told is None:
        return weight == batch.weight
    if told.version != batch.version or (now - told.at).total_seconds() >= REFRESH_S:
        return False
    return abs(weight - told.weight) <= SAME * told.weight
