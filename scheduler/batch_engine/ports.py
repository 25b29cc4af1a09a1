"""The two ports behind the batch engine: another backend implements these and nothing else.

A backend keeps its own transactions: the events of a change are written with the change. Each method raises QueueError
when its store is away; it is then not known whether a change was made.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from scheduler.batch_engine.jobs import BatchItem, BatchJob, BatchSubmission, DeadLetter, JobPage, WebhookDelivery


class BatchQueue(Protocol):
    """Batches and their items: kept, run, stopped."""

    async def add(self, batch_id: str, submission: BatchSubmission, now: datetime) -> BatchJob:
        """Keep a checked submission, to be run. Raises InvalidSubmission for what only the backend can tell."""
        ...

    async def job(self, batch_id: str) -> BatchJob | None:
        """A batch, or None."""
        ...

    async def jobs(self, *, cursor: str | None, limit: int) -> JobPage[BatchJob]:
        """Newest first. Raises InvalidSubmission `cursor` for one that no page named."""
        ...

    async def items(self, batch_id: str, *, cursor: str | None, limit: int) -> JobPage[BatchItem]:
        """Items of a batch in the order of their submission; none while it is being checked."""
        ...

    async def cancel(self, batch_id: str, now: datetime) -> BatchJob | None:
        """Stop it: what has not begun never will, what runs ends. Unchanged when it is final, None when unknown."""
        ...

    async def dead_letters(self, *, batch_id: str | None, cursor: str | None, limit: int) -> JobPage[DeadLetter]:
        """Items that failed for good, of the newest batches first."""
        ...

    async def replay(self, batch_id: str) -> int:
        """Run the dead letters of an ended batch again; how many."""
        ...


class WebhookQueue(Protocol):
    """Events on their way to those who want them."""

    async def deliveries(self, batch_id: str, *, cursor: str | None, limit: int) -> JobPage[WebhookDelivery]:
        """Those of a batch, oldest first."""
        ...

    async def replay_dead(self, batch_id: str) -> int:
        """Send the dead ones of a batch again; how many."""
        ...
