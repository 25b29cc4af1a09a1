"""Items that failed for good, as their users see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which failed items are meant; None: whatever it is."""

    error_code: str | None = None
    resource_id: UUID | None = None
    batch_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An item whose current run ended FAILED.

    runnable: it is a request, not a line of an upload that was no item. ended: its batch has ended, so that what is
    runnable can be run again.
    """

    batch_id: UUID
    seq: int
    run: int
    custom_id: str | None
    resource_id: UUID
    error_code: str | None
    error_message: str | None
    retry_count: int
    completed_at: datetime
    runnable: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """A batch with failed, runnable items that a filter means. ended: they can be run again."""

    batch_id: UUID
    items: int
    ended: bool


class DeadLetterStore(Protocol):
    """Failed items across the batches of an environment."""

    async def page(
        self, environment_id: UUID, which: DeadLetterFilter, *, after: tuple[UUID, int] | None, limit: int
    ) -> Sequence[DeadLetter]:
        """Newest batch first, then in order of items, behind (batch, seq)."""
        ...

    async def batches(
        self, environment_id: UUID, which: DeadLetterFilter, *, after: UUID | None, limit: int
    ) -> Sequence[FailedBatch]:
        """Batches that hold such items, newest first, behind one."""
        ...
