"""Workers, calls and answers in virtual time: what the dispatcher, the attempts and the committer do, without I/O.

Rules mirrored from workers/: claim when a wake token is popped (the worker that waited longest gets it), when
the timer that a claim gave out is due, at once after a claim that left work, and by a slow poll; leave within
START_BY_MS of the claim or release unsent; settle in groups, with the age of each call; pause the budget on a
429 and give the item back.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.filling.backlog import Backlog
from bench.filling.clock import SHARD, ClockedRedis
from bench.filling.door import Door
from scheduler.domain.work import (
    BudgetDefinition,
    FlowRef,
    Lease,
    PauseCause,
    QueueDefinition,
    Refund,
    Release,
    Settlement,
)
from scheduler.engine.redis_engine import RedisEngine

START_US = 1_800_000_017_300_000
"""Some time within a minute: shapes that are aligned to the clock must not start with the run."""
START_BY_MS = 150
LEASE_MS = 10_000
CLAIM_SIZE = 100
SMALLEST_CLAIM, GROWTH = 4, 8
SHORTEST_TIMER_MS, EMPTY_AGAIN_MS = 10, 5
SAFETY_POLL_MS = 5_000
GATHER_MS, GATHERED = 5, 100
REFILL_MS = 4

Action = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Delays:
    """In ms. A call departs some time after its claim and arrives some time after that: 5–60 in all. A stall holds
    up all calls of one claim before they depart, or one call under way."""

    departure: tuple[float, float] = (1.0, 15.0)
    flight: tuple[float, float] = (4.0, 45.0)
    stall: tuple[float, float] = (100.0, 500.0)
    stalled_claims: float = 1 / 500
    stalled_flights: float = 1 / 5_000
    latency: tuple[float, float] = (100.0, 400.0)
    wake: tuple[float, float] = (0.2, 1.0)


@dataclass(slots=True, eq=False)
class Worker:
    """One claimer. due_us: when it claims next."""

    name: str
    due_us: int
    size: int = CLAIM_SIZE
    late: bool = False
    settling: list[tuple[Lease, int]] = field(default_factory=list)


@dataclass(slots=True)
class Counts:
    """What a run did. delay_us: the longest time from admission to arrival."""

    claims: int = 0
    empty_claims: int = 0
    admitted: int = 0
    released_unsent: int = 0
    refused: int = 0
    settled: int = 0
    longest_delay_us: int = 0


class World:
    """A shard, its claimers and its providers. Hooks: on_admitted(now_us, lease) for each leased entry,
    on_arrived(lease, departed_us) for each call that came to its door."""

    def __init__(
        self, engine: RedisEngine, redis: ClockedRedis, *, workers: int = 2, seed: int = 1, delays: Delays | None = None
    ) -> None:
        self.engine = engine
        self.redis = redis
        self.counts = Counts()
        self.doors: dict[str, Door] = {}
        self.on_admitted: Callable[[int, Lease], None] | None = None
        self.on_arrived: Callable[[Lease, int], None] | None = None
        self._delays = delays or Delays()
        self._random = random.Random(seed)
        self._events: list[tuple[int, int, Action]] = []
        self._number = 0
        self._backlogs: dict[FlowRef, Backlog] = {}
        self._targets: dict[str, tuple[str, ...]] = {}
        self._paused_until_us: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self.now_us = START_US
        redis.now_us = START_US
        self._workers = [Worker(f"w{i}", 0) for i in range(workers)]
        self._waiting = deque(self._workers)
        for worker in self._workers:
            self._claim_at(worker, START_US + self._between((0.0, 5.0)))
            self._poll_later(worker)

    async def limit(self, definition: BudgetDefinition) -> None:
        """Set a budget, each time in a newer version."""
        version = self._versions[definition.budget_id] = self._versions.get(definition.budget_id, 0) + 1
        newer = BudgetDefinition(definition.budget_id, version, definition.limits, definition.max_in_flight)
        await self._then(self.engine.set_limits(SHARD, [newer]))

    async def queue(self, definition: QueueDefinition) -> None:
        """Define a queue."""
        self._targets[definition.queue.resource_id] = definition.targets
        await self._then(self.engine.set_queues(SHARD, [definition]))

    async def shut(self, budget: str, span_ms: int) -> None:
        """Nothing passes a budget, as when its provider is down."""
        await self._then(self.engine.pause_budget(SHARD, budget, span_ms, "down"))

    async def open(self, backlog: Backlog) -> None:
        """Start a flow."""
        self._backlogs[backlog.flow] = backlog
        await self._then(backlog.open(self.engine))

    def at(self, at_us: int, action: Action) -> None:
        """Do something at a time."""
        self._number += 1
        heapq.heappush(self._events, (at_us, self._number, action))

    async def run(self, until_us: int) -> None:
        """Let time pass."""
        events = self._events
        while events and events[0][0] <= until_us:
            self.now_us, _, action = heapq.heappop(events)
            self.redis.now_us = self.now_us
            await action()
        self.now_us = self.redis.now_us = until_us

    def _between(self, span_ms: tuple[float, float]) -> int:
        return int(self._random.uniform(*span_ms) * 1000)

    async def _then(self, call: Awaitable[object]) -> None:
        """A script call that may have left a wake token."""
        await call
        self._hear()

    def _hear(self) -> None:
        if self.redis.rang:
            worker = self._waiting.popleft()
            self._waiting.append(worker)
            self._claim_at(worker, self.now_us + self._between(self._delays.wake))

    def _claim_at(self, worker: Worker, at_us: int) -> None:
        """Claim then; the earlier of two times counts."""
        if worker.due_us and worker.due_us <= at_us:
            return
        worker.due_us = at_us

        async def claim() -> None:
            if worker.due_us == at_us:
                await self._claim(worker)

        self.at(at_us, claim)

    def _poll_later(self, worker: Worker) -> None:
        async def poll() -> None:
            self._claim_at(worker, self.now_us)
            self._poll_later(worker)

        self.at(self.now_us + int(SAFETY_POLL_MS * 1000 * self._random.uniform(0.75, 1.25)), poll)

    async def _claim(self, worker: Worker) -> None:
        worker.due_us = 0
        if worker.late:
            worker.late, worker.size = False, max(SMALLEST_CLAIM, worker.size // 2)
        claimed = await self.engine.claim(
            SHARD,
            slots=worker.size,
            open_slots=worker.size,
            holder=worker.name,
            lease_ms=LEASE_MS,
            crowded=frozenset(),
        )
        self._hear()
        brought = len(claimed.leases)
        self.counts.claims += 1
        self.counts.empty_claims += brought == 0
        self.counts.admitted += brought
        if brought >= worker.size:
            worker.size = min(CLAIM_SIZE, worker.size + GROWTH)
        match claimed.next_due_ms:
            case None:
                pass
            case 0:
                self._claim_at(worker, self.now_us + (1_000 if brought else EMPTY_AGAIN_MS * 1000))
            case delay_ms if claimed.holds_timer:
                self._claim_at(worker, self.now_us + max(SHORTEST_TIMER_MS, delay_ms) * 1000)
        if claimed.refill is not None:
            order = claimed.refill

            async def refill() -> None:
                await self._then(self._backlogs[order.flow].refill(self.engine, order))

            self.at(self.now_us + REFILL_MS * 1000, refill)
        if brought:
            self._send(worker, claimed.leases)

    def _send(self, worker: Worker, leases: tuple[Lease, ...]) -> None:
        delays, now_us = self._delays, self.now_us
        if self.on_admitted is not None:
            for lease in leases:
                self.on_admitted(now_us, lease)
        stall_us = self._between(delays.stall) if self._random.random() < delays.stalled_claims else 0
        unsent: list[Lease] = []
        for lease in leases:
            departure_us = stall_us + self._between(delays.departure)
            if lease.exceeds or departure_us > START_BY_MS * 1000:
                unsent.append(lease)
                continue
            flight_us = self._between(delays.flight)
            if self._random.random() < delays.stalled_flights:
                flight_us += self._between(delays.stall)
            self.counts.longest_delay_us = max(self.counts.longest_delay_us, departure_us + flight_us)
            self._fly(worker, lease, now_us + departure_us, now_us + departure_us + flight_us)
        if unsent:

            async def release() -> None:
                worker.late = True
                self.counts.released_unsent += len(unsent)
                gone = [Release(lease.ref, 0, False, Refund.ALL, None) for lease in unsent if not lease.exceeds]
                await self._then(self.engine.release(SHARD, gone))

            self.at(now_us + stall_us, release)

    def _fly(self, worker: Worker, lease: Lease, departed_us: int, arrives_us: int) -> None:
        async def arrive() -> None:
            budget = self._targets[lease.ref.flow.queue.resource_id][lease.target]
            refused_ms = self.doors[budget].arrive(self.now_us, lease.entry.in_tokens)
            if self.on_arrived is not None:
                self.on_arrived(lease, departed_us)
            if refused_ms is None:
                answered_us = self.now_us + self._between(self._delays.latency)
                self.at(answered_us, lambda: self._answered(worker, lease, departed_us))
            else:
                back_us = self.now_us + self._between((2.0, 20.0))
                self.at(back_us, lambda: self._refused(lease, budget, departed_us, refused_ms))

        self.at(arrives_us, arrive)

    async def _answered(self, worker: Worker, lease: Lease, departed_us: int) -> None:
        worker.settling.append((lease, departed_us))
        if len(worker.settling) == 1:
            self.at(self.now_us + GATHER_MS * 1000, lambda: self._settle(worker))
        elif len(worker.settling) == GATHERED:
            await self._settle(worker)

    async def _settle(self, worker: Worker) -> None:
        if not worker.settling:
            return
        ended, worker.settling = worker.settling, []
        self.counts.settled += len(ended)
        await self._then(
            self.engine.settle(
                SHARD,
                [
                    Settlement(lease.ref, lease.entry.in_tokens, 0, (self.now_us - departed_us) // 1000)
                    for lease, departed_us in ended
                ],
            )
        )

    async def _refused(self, lease: Lease, budget: str, departed_us: int, retry_ms: int) -> None:
        """Pause the budget unless a pause as long runs already, then give the item back, charged."""
        self.counts.refused += 1
        until_us = self.now_us + retry_ms * 1000
        if until_us > self._paused_until_us.get(budget, 0):
            self._paused_until_us[budget] = until_us
            await self._then(self.engine.pause_budget(SHARD, budget, retry_ms, "429", PauseCause.LIMIT))
        sent_ago_ms = (self.now_us - departed_us) // 1000
        release = Release(lease.ref, 0, False, Refund.NOTHING, sent_ago_ms, lease.target)
        await self._then(self.engine.release(SHARD, [release]))
