"""The sender: callbacks that are due go out, a slow receiver delays only itself."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from scheduler import metrics
from scheduler.domain.errors import Unavailable
from scheduler.ports.deliveries import Delivery, DeliveryResult, DeliveryStore
from scheduler.providers.waits import wait_ms
from workers.callbacks import Answer, CallbackSession, post_callback, receiver_of
from workers.delivery_leases import DeliveryLeases
from workers.delivery_schedule import Again, Dead, Delivered, judge
from workers.duty import LONGEST_BACKOFF_S, backoff_s
from workers.parcels import Parcels

OTHERS_FIRST_S = 1.5 * LONGEST_BACKOFF_S
"""After Postgres was away nothing is claimed for so long: whoever lives says first what it holds, and what it sent."""
IDLE_POLL_S = 1.0
"""Deliveries that another process wrote are seen after this at the latest."""
SLOW_REMEMBERED = 10_000
RECORD_S = 0.01
"""Results are gathered for so long before they are recorded in one statement."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """One turn: deliveries that were claimed and are on their way."""

    claimed: int


class Sender:
    """Sends what is due: so many at once in all, and so many to one receiver; one at a time to one that did not answer
    the last time, and to no more of those than leave half of the places to others."""

    def __init__(
        self,
        store: DeliveryStore,
        session: CallbackSession,
        holder: str,
        concurrency: int,
        host_concurrency: int,
        utc_now: Callable[[], datetime],
        parcels: Parcels,
        leases: DeliveryLeases,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._parcels = parcels
        self._leases = leases
        self._clock = clock
        self._claims_after_s = -math.inf
        self._session = session
        self._holder = holder
        self._concurrency = concurrency
        self._host_concurrency = host_concurrency
        # A claim brings so many for one receiver; one that has more than the rest on their way is full.
        self._share = max(1, host_concurrency // 2)
        self._utc_now = utc_now
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: Counter[str] = Counter()
        self._slow: set[str] = set()
        self._results: list[DeliveryResult] = []
        self._wake = asyncio.Event()
        self._recorded = asyncio.Event()

    def wake(self) -> None:
        """Something may be due now."""
        self._wake.set()

    async def run_once(self) -> Sent:
        """Claim what is due and start it; otherwise wait until something is."""
        self._wake.clear()
        free = self._concurrency - len(self._tasks)
        if free <= 0 or self._clock() < self._claims_after_s:
            await self._wait(IDLE_POLL_S)
            return Sent(0)
        try:
            deliveries = await self._claim(free)
        except Unavailable:
            self._claims_after_s = self._clock() + OTHERS_FIRST_S
            raise
        for delivery in deliveries:
            self._start(delivery)
        if not deliveries:
            due_s = None if self._busy else await self._store.next_due_s()
            await self._wait(IDLE_POLL_S if due_s is None else min(IDLE_POLL_S, max(0.05, due_s)))
        return Sent(len(deliveries))

    async def _claim(self, free: int) -> Sequence[Delivery]:
        issued_s = self._clock()
        claimed = await self._store.claim(
            self._holder,
            free,
            self._leases.lease_s,
            per_receiver=self._share,
            one_for=self._slow,
            except_receivers=self._full_receivers(),
        )
        return self._leases.take(claimed, issued_s)

    async def record_once(self) -> int:
        """Record what became of tries, many at once; answers how many. Keeps them while Postgres is away."""
        await self._recorded.wait()
        await asyncio.sleep(RECORD_S)
        self._recorded.clear()
        results, self._results = self._results, []
        failures = 0
        try:
            while results:
                try:
                    await self._store.record(self._holder, results)
                except Unavailable:
                    failures += 1
                    await asyncio.sleep(backoff_s(failures))
                    continue
                break
        finally:
            self._leases.drop(result.delivery_id for result in results)
        return len(results)

    async def finish(self, grace_s: float) -> None:
        """Wait for tries on their way; what takes longer is sent again by whoever finds its lease expired."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=grace_s)
        for task in list(self._tasks):
            task.cancel()
        if self._results:
            await self._store.record(self._holder, self._results)
            self._results = []

    def stop_waiting(self) -> None:
        """Let both loops return although nothing came."""
        self._wake.set()
        self._recorded.set()

    def _full_receivers(self) -> list[str]:
        full = {receiver for receiver, count in self._busy.items() if count + self._share > self._host_concurrency}
        busy = {receiver for receiver in self._slow if self._busy[receiver]}
        # However many they are, slow ones leave half of the places to the others.
        crowded = self._slow if len(busy) >= self._concurrency // 2 else busy
        return sorted(full | crowded)

    def _note(self, receiver: str, answer: Answer) -> None:
        if answer.status is not None:
            self._slow.discard(receiver)
        elif not answer.refused:
            if len(self._slow) >= SLOW_REMEMBERED:
                self._slow.pop()
            self._slow.add(receiver)

    def _start(self, delivery: Delivery) -> None:
        receiver = receiver_of(delivery.url)
        self._busy[receiver] += 1
        task = asyncio.create_task(self._send(delivery, receiver))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, delivery: Delivery, receiver: str) -> None:
        recorded = False
        try:
            parcel = self._parcels.of(delivery, int(self._utc_now().timestamp()))
            if not self._leases.live(delivery.delivery_id):
                return  # this process stood still: another may be sending it
            answer = await post_callback(self._session, delivery.url, parcel.body, parcel.headers)
            self._note(receiver, answer)
            self._results.append(self._result(delivery, answer))
            recorded = True
            self._recorded.set()
        except Exception:
            # Its lease expires and it is tried again; the log must tell, but never the payload.
            _log.exception("delivery.failed", delivery_id=str(delivery.delivery_id))
        finally:
            if not recorded:
                self._leases.drop([delivery.delivery_id])
            self._busy[receiver] -= 1
            if not self._busy[receiver]:
                del self._busy[receiver]
            self._wake.set()

    def _result(self, delivery: Delivery, answer: Answer) -> DeliveryResult:
        now = self._utc_now()
        if answer.refused:
            verdict: Delivered | Again | Dead = Dead(answer.problem)
        else:
            asked_ms = wait_ms(answer.headers, "", now.timestamp())
            verdict = judge(
                answer.status,
                answer.problem,
                attempts=delivery.attempts,
                age_s=(now - delivery.tried_since).total_seconds(),
                retry_after_s=None if asked_ms is None else asked_ms / 1000,
                jitter=random.random(),
            )
        match verdict:
            case Delivered():
                metrics.DELIVERIES.labels("delivered").inc()
                return DeliveryResult(delivery.delivery_id, True, None, None, answer.status)
            case Again():
                metrics.DELIVERIES.labels("again").inc()
                retry_at = now + timedelta(seconds=verdict.delay_s)
                problem = answer.problem or f"The receiver answered {answer.status}."
                return DeliveryResult(delivery.delivery_id, False, retry_at, None, answer.status, problem)
            case Dead():
                metrics.DELIVERIES.labels("dead").inc()
                _log.warning("delivery.died", delivery_id=str(delivery.delivery_id), reason=verdict.reason)
                return DeliveryResult(delivery.delivery_id, False, None, verdict.reason, answer.status)
            case _:
                assert_never(verdict)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
