"""Bring to their end the items of a batch that will not run any more, in chunks: all but those that run now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from scheduler.domain.batch import Batch
from scheduler.domain.outcome import ItemOutcome, Recorded
from scheduler.domain.status import ItemStatus
from scheduler.domain.work import Doorbell, FlowRef
from scheduler.ports.engine import Engine, EpochLost
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import flow_ref
from scheduler.services.shards.recovery import Recovery

CHUNK = 500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of them."""

    status: ItemStatus
    error_code: str | None = None
    error_message: str | None = None


class Sweeping:
    """Any process may do this at any time: outcomes are unique, and leased items are left to their holders.

    utc_now: wall time, for completed_at.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        recovery: Recovery,
        utc_now: Callable[[], datetime],
        on_deliveries: Callable[[], None],
    ) -> None:
        self._store = store
        self._engine = engine
        self._recovery = recovery
        self._utc_now = utc_now
        self._on_deliveries = on_deliveries

    async def sweep(self, batches: Sequence[Batch], verdict: Verdict) -> int:
        """Record what does not run of these batches as `verdict`; answers how many items that were. A batch whose shard
        has lost its memory waits for the next turn, and the shard is recovered."""
        items = 0
        for batch in batches:
            try:
                swept = await self._sweep(batch, verdict)
            except EpochLost as lost:
                await self._recovery.ensure(lost.shard)
                continue
            if swept:
                _log.info("batch.items_swept", batch_id=str(batch.batch_id), items=swept, status=verdict.status.value)
            items += swept
        return items

    async def _sweep(self, batch: Batch, verdict: Verdict) -> int:
        flows = await self._store.batches.flows(batch.batch_id)
        if not flows:
            return 0
        shard, refs = flows[0].shard, {flow.resource_id: flow_ref(flow) for flow in flows}
        # Dead first, then the look at the leases: what has none now can get none any more.
        states = await self._engine.flows(shard, list(refs.values()))
        for ref, state in states.items():
            if not state.dead:
                await self._engine.cancel(shard, ref, batch.version)
        chunk, after = await self._next_chunk(batch, shard, refs, 0)
        if not chunk:
            await self._end_if_full(batch, shard, next(iter(refs.values())))
            return 0
        items = 0
        async with self._store.shards.exclusive(f"sweep-{batch.batch_id}") as mine:
            if not mine:
                return 0
            while chunk:
                items += await self._record(batch, shard, next(iter(refs.values())), chunk, verdict)
                chunk, after = await self._next_chunk(batch, shard, refs, after)
        return items

    async def _next_chunk(
        self, batch: Batch, shard: int, refs: dict[UUID, FlowRef], after: int
    ) -> tuple[list[tuple[int, int]], int]:
        """The next (seq, run) without outcome and without lease, and the seq up to which nothing was left
        out."""
        while True:
            rows = await self._store.items.unfinished(batch.batch_id, after_seq=after, limit=CHUNK)
            if not rows:
                return [], after
            after = rows[-1][0]
            by_flow: dict[UUID, list[int]] = {}
            for seq, _, resource_id in rows:
                by_flow.setdefault(resource_id, []).append(seq)
            leased: set[int] = set()
            for resource_id, seqs in by_flow.items():
                leased.update(await self._engine.leased(shard, refs[resource_id], seqs))
            free = [(seq, run) for seq, run, _ in rows if seq not in leased]
            if free:
                return free, after

    async def _record(
        self, batch: Batch, shard: int, flow: FlowRef, chunk: Sequence[tuple[int, int]], verdict: Verdict
    ) -> int:
        now = self._utc_now()
        outcomes = [
            ItemOutcome(
                batch_id=batch.batch_id,
                seq=seq,
                run=run,
                status=verdict.status,
                error_code=verdict.error_code,
                error_message=verdict.error_message,
                completed_at=now,
            )
            for seq, run in chunk
        ]
        flushed = await self._store.outcomes.flush(outcomes, wait_for_locks=True)
        bells = [Doorbell(flow.queue, str(b.batch_id), b.last_event) for b in flushed.batches]
        await self._engine.ring(shard, bells)
        if flushed.deliveries:
            self._on_deliveries()
        return sum(became is Recorded.RECORDED for became in flushed.recorded)

    async def _end_if_full(self, batch: Batch, shard: int, flow: FlowRef) -> None:
        if batch.finished < batch.total_items:
            return
        for batch_id in await self._store.batches.end_full([batch.batch_id]):
            for ended in await self._store.shards.batches([batch_id]):
                await self._engine.ring(shard, [Doorbell(flow.queue, str(batch_id), ended.last_event)])
