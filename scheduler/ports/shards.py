"""Shards: their epochs, their unfinished flows, and the processes that work on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol
from uuid import UUID

from scheduler.domain.batch import Batch
from scheduler.ports.flows import StoredFlow

WORKER = "worker"
"""Kind of the signs of life of a worker."""
STOPPED = "stopped"
"""Kind of its last one when it ended in good order: it holds nothing any more, and did not die of what it held."""


class ShardStore(Protocol):
    """Shards and their epochs; workers' sign of life."""

    async def shards(self) -> int:
        """How many shards, fixed at first start."""
        ...

    async def live_shards(self) -> Sequence[int]:
        """Shards that have at least one environment."""
        ...

    async def epoch(self, shard: int) -> tuple[int, str]:
        """(epoch, identity): identity is the Redis run id and replication id that the epoch was opened with."""
        ...

    async def raise_epoch(self, shard: int, seen: int, identity: str) -> int | None:
        """Epoch seen + 1 by compare-and-set; None when another was faster."""
        ...

    async def unfinished_flows(
        self, shard: int, *, after: tuple[UUID, UUID] | None, limit: int
    ) -> Sequence[StoredFlow]:
        """Flows of batches that are not final, by (batch, resource): for reconciler and repair."""
        ...

    async def cancelled_unfinished(self, limit: int, after: Batch | None = None) -> Sequence[Batch]:
        """Cancelled batches whose items do not all have an outcome yet, those touched longest ago first. after: the
        last one of the page before."""
        ...

    async def batches(self, batch_ids: Sequence[UUID]) -> Sequence[Batch]:
        """These, of whatever environments and in no order; what does not exist is left out."""
        ...

    async def raise_generation(self, batch_id: UUID, resource_id: UUID, seen: int) -> int | None:
        """Generation seen + 1 by compare-and-set."""
        ...

    def exclusive(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Async context manager that yields True when this process got the advisory lock `name`, else False."""
        ...

    async def beat(self, holder: str, kind: str, info: Mapping[str, Any]) -> Mapping[str, float]:
        """Sign of life of a process (upsert). kind: WORKER, or STOPPED for its last one. Answers the other workers that
        gave one of either in the last 15 s: how many seconds ago."""
        ...

    async def alive(self, within_s: float) -> Sequence[Mapping[str, Any]]:
        """Processes that beat within that time: {holder, kind, info, beat_at}. Those of kind STOPPED are there too, for
        their last figures."""
        ...

    async def maintain(self) -> None:
        """The pruner's duty, about hourly: partitions of the coming weeks, forgotten keys and processes."""
        ...
