"""An engine whose clock the test sets, and short words for what tests build."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from redis.asyncio import Redis

from scheduler.domain.work import (
    BudgetDefinition,
    Claimed,
    Entry,
    FlowDefinition,
    FlowRef,
    Lease,
    Limit,
    QueueDefinition,
    QueueRef,
    Settlement,
)
from scheduler.engine import keys
from scheduler.engine.redis_engine import RedisEngine
from scheduler.settings import Settings

SHARD = 3
START_MS = 1_800_000_000_000
SET_CLOCK = """
local function read_server_ms() return tonumber(redis.call('GET', string.sub(KEYS[1], 1, -6) .. 'test-now')) end
"""
WORKSPACE = str(UUID(int=1))
ENVIRONMENT = str(UUID(int=2))


def queue_of(number: int) -> QueueRef:
    return QueueRef(WORKSPACE, ENVIRONMENT, str(UUID(int=1000 + number)))


def flow_of(number: int, queue: int = 1) -> FlowRef:
    return FlowRef(queue_of(queue), str(UUID(int=100_000 + number)))


def minute(requests: int | None = None, tokens: int | None = None, pace: float | None = None) -> Limit:
    return Limit("MINUTE", requests, tokens, pace)


@dataclass
class Bench:
    """The engine under test and its clock."""

    engine: RedisEngine
    redis: Redis
    now_ms: int = START_MS
    versions: dict[str, int] = field(default_factory=dict)

    async def at(self, now_ms: int) -> None:
        """Set the clock."""
        self.now_ms = now_ms
        await self.redis.set(f"{keys.prefix(SHARD)}test-now", now_ms)

    async def after(self, delay_ms: int) -> None:
        """Let time pass."""
        await self.at(self.now_ms + delay_ms)

    async def limit(self, budget: str, *limits: Limit, max_in_flight: int | None = None, spent: bool = False) -> None:
        """Define a budget, each time in a newer version."""
        version = self.versions[budget] = self.versions.get(budget, 0) + 1
        await self.engine.set_limits(SHARD, [BudgetDefinition(budget, version, limits, max_in_flight)], spent=spent)

    async def queue(
        self,
        number: int = 1,
        *,
        targets: Sequence[str] = ("c",),
        budgets: Sequence[str] = (),
        weight: float = 4.0,
        spill: bool = False,
    ) -> None:
        """Define a queue."""
        version = self.versions[f"q{number}"] = self.versions.get(f"q{number}", 0) + 1
        await self.engine.set_queues(
            SHARD, [QueueDefinition(queue_of(number), version, tuple(targets), tuple(budgets), weight, spill)]
        )

    async def push(
        self,
        number: int = 1,
        count: int = 1,
        *,
        queue: int = 1,
        tokens: int = 10,
        weight: float = 4.0,
        budgets: Sequence[str] = (),
        end: int | None = None,
        cursor: int = 0,
        generation: int = 1,
    ) -> bool:
        """Push `count` entries of `tokens` tokens to flow `number`, from position cursor + 1."""
        entries = [Entry(cursor + i, 1, tokens, 0) for i in range(1, count + 1)]
        last = cursor + count
        definition = FlowDefinition(flow_of(number, queue), 1, weight, tuple(budgets), end or last)
        return await self.engine.push(SHARD, definition, generation, cursor, last, entries)

    async def control(
        self, number: int, version: int, *, weight: float = 4.0, budgets: Sequence[str] = (), paused: bool = False
    ) -> None:
        """Tell the control state of flow `number` in a version of its batch."""
        definition = FlowDefinition(flow_of(number), version, weight, tuple(budgets), 0, paused=paused)
        await self.engine.set_flow(SHARD, definition)

    async def claim(
        self,
        slots: int = 64,
        *,
        open_slots: int | None = None,
        crowded: frozenset[str] = frozenset(),
        may_suspect: bool = True,
        holder: str = "w1",
        lease_ms: int = 10_000,
    ) -> Claimed:
        """Claim."""
        return await self.engine.claim(
            SHARD,
            slots=slots,
            open_slots=slots if open_slots is None else open_slots,
            holder=holder,
            lease_ms=lease_ms,
            crowded=crowded,
            may_suspect=may_suspect,
        )

    async def settle(self, leases: Sequence[Lease], *, sent_ago_ms: int | None = 0) -> int:
        """Settle leases as charged what they reserved; answers how many were lost."""
        lost = await self.engine.settle(
            SHARD, [Settlement(x.ref, x.entry.in_tokens, x.entry.out_tokens, sent_ago_ms) for x in leases]
        )
        return len(lost)


@pytest.fixture
async def bench(empty_redis: str) -> AsyncIterator[Bench]:
    engine = await RedisEngine.open(empty_redis, Settings(), includes={"now": SET_CLOCK})
    redis = Redis.from_url(empty_redis)
    bench = Bench(engine, redis)
    await bench.at(START_MS)
    await engine.open_shard(SHARD, 1)
    yield bench
    await redis.aclose()
    await engine.close()
