"""States of batches and items, and who moves them on."""

from __future__ import annotations

from enum import StrEnum


class BatchType(StrEnum):
    """How progress comes back to the caller."""

    SYNC = "SYNC"
    ASYNC = "ASYNC"
    CALLBACK = "CALLBACK"


class BatchStatus(StrEnum):
    """PENDING → RUNNING (a dispatcher, at the first claim) → COMPLETED | FAILED (the flush that records the last
    outcome). PENDING | RUNNING → CANCELLED (cancel). A final status is left only by `retry`."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class ItemStatus(StrEnum):
    """PENDING → RUNNING (seen from a live lease, never stored) → COMPLETED | FAILED | CANCELLED (the flush)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


FINAL_ITEM = frozenset({ItemStatus.COMPLETED, ItemStatus.FAILED, ItemStatus.CANCELLED})
FINAL_BATCH = frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELLED})
