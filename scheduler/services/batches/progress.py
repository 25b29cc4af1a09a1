"""What is running now, overlaid from the leases on what Postgres records; an outcome outranks a lease."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from scheduler.domain.batch import Batch, Item
from scheduler.domain.errors import Unavailable
from scheduler.domain.status import FINAL_ITEM, BatchStatus, ItemStatus
from scheduler.domain.work import FlowRef
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import flow_ref, queue_ref
from scheduler.services.callers.tenants import Tenants
from scheduler.services.shards.access import Shards

PATIENCE_S = 1.0
"""How long the engine may take to say what runs; scripts take milliseconds, and what is recorded is worth showing."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """Where the items of a batch stand; they always add up to total_items."""

    pending: int
    running: int
    completed: int
    failed: int
    cancelled: int


def counts_of(batch: Batch, leased: int) -> Counts:
    """The counts of a batch with `leased` live leases.

    In a cancelled batch nothing waits: what is not running counts as cancelled, also before its outcome is
    written. A lease that outlives its outcome for a moment is not counted twice.
    """
    remaining = max(batch.total_items - batch.finished, 0)
    running = min(leased, remaining)
    dropped = remaining - running if batch.status is BatchStatus.CANCELLED else 0
    return Counts(
        pending=remaining - running - dropped,
        running=running,
        completed=batch.completed,
        failed=batch.failed,
        cancelled=batch.cancelled + dropped,
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """What an item shows. started_at: of one that runs; None for any other, whose record says it."""

    status: ItemStatus
    started_at: datetime | None = None


def standing_of(item: Item, leased_ms: int | None, batch_status: BatchStatus) -> Standing:
    """Where an item stands. leased_ms: since when it has a lease, in Unix ms; None: it has none."""
    if item.status in FINAL_ITEM:
        return Standing(item.status)
    if leased_ms is not None:
        return Standing(ItemStatus.RUNNING, max(item.created_at, utc_of(leased_ms)))
    return Standing(ItemStatus.CANCELLED if batch_status is BatchStatus.CANCELLED else ItemStatus.PENDING)


def utc_of(unix_ms: int) -> datetime:
    """A time of the engine."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


class Progress:
    """Reads the overlay. While Redis is away, or hangs, nothing shows as running."""

    def __init__(self, store: Store, engine: Engine, tenants: Tenants, shards: Shards) -> None:
        self._store = store
        self._engine = engine
        self._tenants = tenants
        self._shards = shards

    async def counts(self, batch: Batch) -> Counts:
        """The counts of one batch now."""
        return (await self.counts_of_all([batch]))[batch.batch_id]

    async def counts_of_all(self, batches: Sequence[Batch]) -> dict[UUID, Counts]:
        """The counts of many batches of one environment, with one question to the engine."""
        live = [batch for batch in batches if batch.finished < batch.total_items]
        flows = await asyncio.gather(*(self._store.batches.flows(batch.batch_id) for batch in live))
        refs = [flow_ref(flow) for of_one in flows for flow in of_one]
        leased: dict[str, int] = {}
        for ref, count in (await self._leased_counts(live, refs)).items():
            leased[ref.batch_id] = leased.get(ref.batch_id, 0) + count
        return {batch.batch_id: counts_of(batch, leased.get(str(batch.batch_id), 0)) for batch in batches}

    async def _leased_counts(self, live: Sequence[Batch], refs: Sequence[FlowRef]) -> Mapping[FlowRef, int]:
        if not refs:
            return {}
        try:
            shard = await self._tenants.shard_of(live[0].environment_id)
            async with asyncio.timeout(PATIENCE_S):
                return await self._shards.run(shard, lambda: self._engine.leased_counts(shard, refs))
        except (Unavailable, TimeoutError) as error:
            _log.warning("progress.overlay_missing", reason=str(error) or "no answer in time")
            return {}

    async def standings(self, batch: Batch, items: Iterable[Item]) -> dict[int, Standing]:
        """Where each item (by seq) stands, with one question to the engine per resource."""
        listed = list(items)
        waiting: dict[UUID, list[int]] = {}
        for item in listed:
            if item.status not in FINAL_ITEM:
                waiting.setdefault(item.resource_id, []).append(item.seq)
        leased: dict[int, int] = {}
        try:
            async with asyncio.timeout(PATIENCE_S):
                for resource_id, seqs in waiting.items():
                    queue = queue_ref(batch.workspace_id, batch.environment_id, resource_id)
                    leased |= await self._leased(batch.environment_id, FlowRef(queue, str(batch.batch_id)), seqs)
        except (Unavailable, TimeoutError) as error:
            _log.warning("progress.overlay_missing", reason=str(error) or "no answer in time")
        return {item.seq: standing_of(item, leased.get(item.seq), batch.status) for item in listed}

    async def _leased(self, environment_id: UUID, flow: FlowRef, seqs: Sequence[int]) -> Mapping[int, int]:
        shard = await self._tenants.shard_of(environment_id)
        return await self._shards.run(shard, lambda: self._engine.leased(shard, flow, seqs))
