"""The checkpointer: what is used of quotas goes to Postgres, so that the loss of Redis does not give it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scheduler.domain.errors import Unavailable
from scheduler.ports.engine import Engine
from scheduler.ports.quotas import QuotaStore

INTERVAL_S = 3.0
AT_ONCE = 500
"""Budgets in one statement."""
FORGET_EVERY = 1_200
"""Turns between two looks for rows that ended long ago: an hour."""


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """One turn: quotas that were stored."""

    quotas: int


class Checkpointer:
    """Each changed budget is handed to one process at a time, so any number of these work side by side.

    What a process was handed is receipted by its next call. One that dies before, or whose call was not answered,
    leaves it to another, seconds later; what is stored twice stays as it is.
    """

    def __init__(self, store: QuotaStore, engine: Engine, live_shards: Callable[[], Sequence[int]]) -> None:
        self._store = store
        self._engine = engine
        self._live_shards = live_shards
        self._turns = 0
        self._stored: dict[int, int] = {}

    async def run_once(self) -> Checkpointed:
        """Store what changed on every live shard. Raises Unavailable when Postgres is away; nothing is lost by it."""
        stored = 0
        for shard in self._live_shards():
            while True:
                try:
                    # A receipt whose call fails is not told again: it may have arrived, and if not it does no harm.
                    receipt, uses = await self._engine.checkpoint(shard, AT_ONCE, self._stored.pop(shard, None))
                except Unavailable:
                    break  # a loss of Redis: what Postgres has is what there is
                if uses:
                    await self._store.keep_quotas(uses)
                    self._stored[shard] = receipt
                stored += len(uses)
                if len({use.budget_id for use in uses}) < AT_ONCE:
                    break
        if self._turns % FORGET_EVERY == 0:
            await self._store.forget_quotas()
        self._turns += 1
        return Checkpointed(stored)
