"""Retry: the failed items of an ended batch run again. Decided in Postgres, carried to the engine."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import structlog

from scheduler.domain.batch import Batch
from scheduler.domain.errors import NotFound, Unavailable
from scheduler.domain.ids import ItemIds
from scheduler.ports.dead_letters import DeadLetterFilter
from scheduler.ports.store import Store
from scheduler.services.batches.control import not_found
from scheduler.services.batches.opening import Opening
from scheduler.services.callers.tenants import Tenants
from scheduler.services.shards.access import Shards
from scheduler.services.shards.recovery import Recovery

_log = structlog.get_logger(__name__)


class Reopening:
    """Reopens batches. A crash after the decision is made good by the reconciler."""

    def __init__(self, store: Store, tenants: Tenants, shards: Shards, opening: Opening, recovery: Recovery) -> None:
        self._store = store
        self._tenants = tenants
        self._shards = shards
        self._opening = opening
        self._recovery = recovery

    async def retry(self, environment_id: UUID, batch_id: UUID, item_ids: Sequence[UUID] | None = None) -> Batch:
        """Run the failed items again: those of `item_ids`, or all. Unchanged when none of them failed. Lines of an
        upload that were no items keep their errors.

        Raises NotFound (also for an id that is no item of the batch); Conflict INVALID_STATE before the end;
        Unavailable when Postgres is down. Whether Redis is up does not matter: the reconciler opens it later.
        """
        answer = await self._store.batches.retry(environment_id, batch_id, _seqs_of(batch_id, item_ids))
        return (await self._carry(environment_id, batch_id, answer))[0]

    async def retry_some(self, environment_id: UUID, batch_id: UUID, which: DeadLetterFilter) -> int:
        """Run those failed items of a batch again that a filter means; answers how many. Raises as `retry`."""
        answer = await self._store.batches.retry(
            environment_id, batch_id, error_code=which.error_code, resource_id=which.resource_id
        )
        return (await self._carry(environment_id, batch_id, answer))[1]

    async def _carry(self, environment_id: UUID, batch_id: UUID, answer: tuple[Batch, int] | None) -> tuple[Batch, int]:
        """To the engine, what was decided."""
        if answer is None:
            raise not_found()
        batch, again = answer
        if not again:
            return batch, 0
        _log.info("batch.reopened", batch_id=str(batch_id), items=again)
        try:
            shard = await self._tenants.shard_of(environment_id)
            await self._shards.run(shard, lambda: self._open(shard, batch))
        except Unavailable as error:
            _log.warning("batch.opening_postponed", batch_id=str(batch_id), reason=error.message)
        except Exception:
            # It is decided, whatever comes now.
            _log.exception("batch.opening_failed", batch_id=str(batch_id))
        return batch, again

    async def _open(self, shard: int, batch: Batch) -> None:
        flows = await self._store.batches.flows(batch.batch_id)
        await self._opening.bind(shard, batch, flows)
        for flow in flows:
            await self._recovery.repair(shard, batch, flow)


def _seqs_of(batch_id: UUID, item_ids: Sequence[UUID] | None) -> list[int] | None:
    if item_ids is None:
        return None
    ids = ItemIds(batch_id)
    seqs = []
    for item_id in item_ids:
        seq = ids.seq_of(item_id)
        if seq is None or seq > 2**31 - 1:
            raise NotFound(f"There is no item {item_id}.", code="COMPLETION_BATCH_ITEM_NOT_FOUND")
        seqs.append(int(seq))
    return seqs
