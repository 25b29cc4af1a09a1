"""What webhooks tell of submissions: the events of the engine's contract, ready to be JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from scheduler.domain.ids import ItemIds
from scheduler.domain.public_ids import BATCH, ITEM, shown_id
from scheduler.domain.status import ItemStatus
from scheduler.domain.submission import Ending, Submission
from scheduler.ports.submissions import Result, WebhookEvent


def counts_of(submission: Submission) -> dict[str, int]:
    """Where its items stand: total, processing, succeeded, failed, cancelled, expired; they add up. What its deadline
    or its owner stopped counts as such at once, also before each item is recorded."""
    progress = submission.progress
    if progress is None:
        return dict.fromkeys(("total", "processing", "succeeded", "failed", "cancelled", "expired"), 0)
    left = progress.total - progress.completed - progress.failed
    stopped = submission.due_ending in (Ending.CANCELLED, Ending.EXPIRED)
    expired = submission.due_ending is Ending.EXPIRED
    return {
        "total": progress.total,
        "processing": 0 if stopped else left,
        "succeeded": progress.completed,
        "failed": progress.failed,
        "cancelled": left if stopped and not expired else 0,
        "expired": left if expired else 0,
    }


def queued(submission: Submission, items: int) -> WebhookEvent:
    """All its lines are good: it waits for its turn."""
    mode = submission.execution_mode.value
    return _event("batch.queued", submission, {"total_items": items, "execution_mode": mode})


def started(submission: Submission) -> WebhookEvent:
    """A first item was claimed."""
    return _event("batch.started", submission, {})


def progressed(submission: Submission) -> WebhookEvent:
    """Some more items are finished."""
    return _event("batch.progress", submission, {"counts": counts_of(submission)})


def item_ended(submission: Submission, result: Result, ids: ItemIds) -> WebhookEvent | None:
    """What became of an item that ran; None for one that was stopped before. ids: those of its batch."""
    named = {"item_id": shown_id(ITEM, ids.of(result.seq)), "custom_id": _storable(result.custom_id)}
    match result.status:
        case ItemStatus.COMPLETED:
            return _event("batch.item_completed", submission, named)
        case ItemStatus.FAILED:
            error = {"code": result.error_code, "message": result.error_message}
            return _event("batch.item_failed", submission, {**named, "error": error})
        case _:
            return None


def ended(submission: Submission, ending: Ending, at: datetime) -> WebhookEvent:
    """Its end. FAILED: its input was refused."""
    duration_s = round((at - submission.created_at).total_seconds(), 3)
    data = {"counts": counts_of(submission), "duration_secs": duration_s}
    match ending:
        case Ending.COMPLETED:
            return _event("batch.completed", submission, data)
        case Ending.FAILED:
            return _event("batch.failed", submission, data)
        case Ending.EXPIRED:
            return _event("batch.expired", submission, data)
        case Ending.CANCELLED:
            return _event("batch.cancelled", submission, data)
        case _:
            assert_never(ending)


def shown_batch_id(batch_id: UUID) -> str:
    """As callers see it."""
    return shown_id(BATCH, batch_id)


def _event(name: str, submission: Submission, data: Mapping[str, Any]) -> WebhookEvent:
    return WebhookEvent(name, {"batch_id": shown_batch_id(submission.batch_id), **data})


def _storable(text: str | None) -> str | None:
    """Lone surrogates, which no JSON of ours can hold, become U+FFFD."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
