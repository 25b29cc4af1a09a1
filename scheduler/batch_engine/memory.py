"""The batch engine in memory: for tests of code that embeds Brim. Nothing of it survives the process, no limits hold,
and items run only while `run` is awaited.

    backend = MemoryBackend(answer)
    engine = BatchEngine(backend, backend)
    job = await engine.submit(…)
    await backend.run()
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from scheduler.batch_engine.failures import InvalidSubmission
from scheduler.batch_engine.jobs import (
    FINAL,
    BatchItem,
    BatchJob,
    BatchStatus,
    BatchSubmission,
    DeadLetter,
    ItemStatus,
    JobPage,
    RequestCounts,
    SubmissionItem,
    WebhookDelivery,
)
from scheduler.domain.ids import ItemIds
from scheduler.domain.public_ids import BATCH, ITEM, read_id, shown_id

Answer = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""(endpoint, body) → the result. What it raises is a failed try."""
T = TypeVar("T")


@dataclass(slots=True)
class _Batch:
    job: BatchJob
    requests: Sequence[SubmissionItem]
    items: list[BatchItem]
    told: list[WebhookDelivery] = field(default_factory=list)
    wants_events: bool = False


class MemoryBackend:
    """Implements both ports. answer: makes the call of an item; now: wall time, which expires batches."""

    def __init__(self, answer: Answer, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._answer = answer
        self._now = now
        self._batches: dict[str, _Batch] = {}

    async def run(self) -> int:
        """Run everything that waits, batches of higher priority first; answers how many tries that took."""
        tries = 0
        waiting = sorted(self._batches.values(), key=lambda batch: -batch.job.priority)
        for batch in waiting:
            for index in range(len(batch.items)):
                self._expire(batch)
                if batch.items[index].status is ItemStatus.PENDING:
                    tries += await self._run(batch, index)
            self._settle(batch)
        return tries

    async def add(self, batch_id: str, submission: BatchSubmission, now: datetime) -> BatchJob:
        """Keep it."""
        internal = read_id(BATCH, batch_id)
        ids = ItemIds(internal or UUID(int=0))
        items = [
            BatchItem(shown_id(ITEM, ids.of(seq)), item.custom_id, ItemStatus.PENDING)
            for seq, item in enumerate(submission.items, start=1)
        ]
        job = BatchJob(
            id=batch_id,
            status=BatchStatus.QUEUED,
            counts=RequestCounts(total=len(items), processing=len(items)),
            endpoint=submission.endpoint,
            source_format=submission.source_format,
            execution_mode=submission.execution_mode,
            priority=submission.priority,
            max_retries=submission.max_retries,
            metadata=submission.metadata,
            created_at=now,
            expires_at=now + submission.expires_after,
        )
        batch = _Batch(job, submission.items, items, wants_events=submission.webhook_url is not None)
        self._batches[batch_id] = batch
        self._tell(batch, "batch.queued")
        return job

    async def job(self, batch_id: str) -> BatchJob | None:
        """A batch."""
        batch = self._looked_at(batch_id)
        return None if batch is None else batch.job

    async def jobs(self, *, cursor: str | None, limit: int) -> JobPage[BatchJob]:
        """Newest first."""
        newest_first = [batch.job for batch_id in reversed(self._batches) if (batch := self._looked_at(batch_id))]
        return _page(newest_first, cursor, limit)

    async def items(self, batch_id: str, *, cursor: str | None, limit: int) -> JobPage[BatchItem]:
        """Items in order."""
        batch = self._looked_at(batch_id)
        return _page(batch.items if batch else [], cursor, limit)

    async def cancel(self, batch_id: str, now: datetime) -> BatchJob | None:
        """Stop it; what is being answered just now ends first."""
        batch = self._looked_at(batch_id)
        if batch is None or batch.job.status in FINAL:
            return None if batch is None else batch.job
        self._stop(batch, ItemStatus.CANCELLED)
        batch.job = replace(batch.job, status=BatchStatus.CANCELLING)
        self._settle(batch, now)
        return batch.job

    async def dead_letters(self, *, batch_id: str | None, cursor: str | None, limit: int) -> JobPage[DeadLetter]:
        """Those of the newest batches first."""
        found = [
            DeadLetter(name, item.id, item.custom_id, item.error_code, item.error_message, item.retries)
            for name, batch in reversed(self._batches.items())
            if batch_id in (None, name)
            for item in batch.items
            if item.status is ItemStatus.FAILED
        ]
        return _page(found, cursor, limit)

    async def replay(self, batch_id: str) -> int:
        """Failed items wait again."""
        batch = self._batches[batch_id]
        if batch.job.status not in FINAL:
            return 0
        again = 0
        for index, item in enumerate(batch.items):
            if item.status is ItemStatus.FAILED:
                batch.items[index] = BatchItem(item.id, item.custom_id, ItemStatus.PENDING)
                again += 1
        if again:
            batch.job = replace(batch.job, status=BatchStatus.PROCESSING, ended_at=None, counts=_counts(batch.items))
        return again

    async def deliveries(self, batch_id: str, *, cursor: str | None, limit: int) -> JobPage[WebhookDelivery]:
        """All that would have been sent; nothing leaves the process."""
        return _page(self._batches[batch_id].told, cursor, limit)

    async def replay_dead(self, batch_id: str) -> int:  # noqa: ARG002 - nothing dies here
        """None is ever dead."""
        return 0

    async def _run(self, batch: _Batch, index: int) -> int:
        if batch.job.status is BatchStatus.QUEUED:
            batch.job = replace(batch.job, status=BatchStatus.PROCESSING)
            self._tell(batch, "batch.started")
        item = batch.items[index] = replace(batch.items[index], status=ItemStatus.PROCESSING)
        tries = 0
        while True:
            tries += 1
            try:
                result = await self._answer(batch.job.endpoint, batch.requests[index].body)
            except Exception as error:
                if tries <= batch.job.max_retries:
                    continue
                batch.items[index] = replace(
                    item,
                    status=ItemStatus.FAILED,
                    retries=tries - 1,
                    error_code=type(error).__name__,
                    error_message=str(error),
                )
                self._tell(batch, "batch.item_failed")
            else:
                batch.items[index] = replace(item, status=ItemStatus.SUCCEEDED, retries=tries - 1, result=result)
                self._tell(batch, "batch.item_completed")
            batch.job = replace(batch.job, counts=_counts(batch.items))
            return tries

    def _looked_at(self, batch_id: str) -> _Batch | None:
        batch = self._batches.get(batch_id)
        if batch is not None:
            self._expire(batch)
            self._settle(batch)
        return batch

    def _expire(self, batch: _Batch) -> None:
        if batch.job.status not in FINAL and self._now() >= batch.job.expires_at:
            self._stop(batch, ItemStatus.EXPIRED)

    def _stop(self, batch: _Batch, status: ItemStatus) -> None:
        for index, item in enumerate(batch.items):
            if item.status is ItemStatus.PENDING:
                batch.items[index] = replace(item, status=status)

    def _settle(self, batch: _Batch, now: datetime | None = None) -> None:
        """End a batch none of whose items is left."""
        counts = _counts(batch.items)
        batch.job = replace(batch.job, counts=counts)
        if batch.job.status in FINAL or counts.processing:
            return
        if counts.expired:
            status = BatchStatus.EXPIRED
        else:
            status = BatchStatus.CANCELLED if batch.job.status is BatchStatus.CANCELLING else BatchStatus.COMPLETED
        batch.job = replace(batch.job, status=status, ended_at=now or self._now())
        self._tell(batch, f"batch.{status.value}")

    def _tell(self, batch: _Batch, event: str) -> None:
        if batch.wants_events:
            batch.told.append(WebhookDelivery(f"whd_{len(batch.told) + 1}", event, "delivered", 1, None))


def _counts(items: Iterable[BatchItem]) -> RequestCounts:
    listed = [item.status for item in items]
    return RequestCounts(
        total=len(listed),
        processing=listed.count(ItemStatus.PENDING) + listed.count(ItemStatus.PROCESSING),
        succeeded=listed.count(ItemStatus.SUCCEEDED),
        failed=listed.count(ItemStatus.FAILED),
        cancelled=listed.count(ItemStatus.CANCELLED),
        expired=listed.count(ItemStatus.EXPIRED),
    )


def _page(found: Sequence[T], cursor: str | None, limit: int) -> JobPage[T]:
    if cursor is not None and not cursor.isdecimal():
        raise InvalidSubmission("cursor", "is none of this list")
    start = int(cursor or 0)
    data = tuple(found[start : start + limit])
    return JobPage(data, str(start + limit) if start + limit < len(found) else None)
