"""Flows with a backlog: pushed in windows, refilled when a claim orders it, as a batch in Postgres would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from bench.filling.clock import SHARD
from scheduler.domain.work import Entry, FlowDefinition, FlowRef, QueueRef, RefillOrder
from scheduler.engine.redis_engine import RedisEngine

WORKSPACE = str(UUID(int=1))
ENVIRONMENT = str(UUID(int=2))
ENDLESS = 10**9
CHUNK = 2_000


def queue_of(number: int) -> QueueRef:
    """The queue of resource `number`."""
    return QueueRef(WORKSPACE, ENVIRONMENT, str(UUID(int=1_000 + number)))


def flow_of(number: int, queue: int) -> FlowRef:
    """Flow `number` of that queue."""
    return FlowRef(queue_of(queue), str(UUID(int=1_000_000 + number)))


@dataclass(slots=True)
class Backlog:
    """The items of one batch on one resource. tokens_of: what item n costs."""

    flow: FlowRef
    count: int
    tokens_of: Callable[[int], int]
    weight: float = 4.0
    budgets: tuple[str, ...] = ()
    first: int = 200
    """How many are pushed at once when it opens."""

    async def open(self, engine: RedisEngine) -> None:
        """Push the first window."""
        await self._push(engine, 1, 0, min(self.first, self.count))

    async def refill(self, engine: RedisEngine, order: RefillOrder) -> None:
        """Bring what a claim asked for; at most one chunk, the next claim asks again."""
        await self._push(engine, order.generation, order.cursor, min(order.room, CHUNK, self.count - order.cursor))

    async def _push(self, engine: RedisEngine, generation: int, cursor: int, count: int) -> None:
        entries = [
            Entry(position, 1, self.tokens_of(position), 0) for position in range(cursor + 1, cursor + count + 1)
        ]
        definition = FlowDefinition(self.flow, 1, self.weight, self.budgets, self.count)
        await engine.push(SHARD, definition, generation, cursor, cursor + count, entries)
