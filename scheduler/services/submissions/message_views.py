"""Message batches as callers of Anthropic's API see them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from scheduler.domain.public_ids import MESSAGE_BATCH, shown_id
from scheduler.domain.submission import Ending, Submission
from scheduler.services.submissions.message_batches import REQUESTS


class MessageCountsView(Struct, frozen=True):
    """Requests by what became of them; they add up to all of them."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatchView(Struct, frozen=True, kw_only=True):
    """A message batch. results_url: once it ended."""

    id: str
    type: Literal["message_batch"] = "message_batch"
    processing_status: Literal["in_progress", "canceling", "ended"]
    request_counts: MessageCountsView
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    cancel_initiated_at: datetime | None
    archived_at: datetime | None
    results_url: str | None


class MessageBatchPage(Struct, frozen=True, kw_only=True):
    """A page of message batches, newest first; the last id continues it."""

    data: list[MessageBatchView]
    has_more: bool
    first_id: str | None
    last_id: str | None


def message_batch_view(submission: Submission, root: str) -> MessageBatchView:
    """A submission as shown. root: of our URLs, as the caller knows it, without a slash at its end."""
    shown = shown_id(MESSAGE_BATCH, submission.batch_id)
    ended = submission.ending is not None
    canceling = submission.cancelling_at is not None or (submission.progress is not None and _stopped(submission))
    return MessageBatchView(
        id=shown,
        processing_status="ended" if ended else "canceling" if canceling else "in_progress",
        request_counts=_counts(submission),
        created_at=submission.created_at,
        expires_at=submission.expires_at,
        ended_at=submission.ended_at,
        cancel_initiated_at=submission.cancelling_at,
        archived_at=None,
        results_url=f"{root}/v1/messages/batches/{shown}/results" if ended else None,
    )


def _stopped(submission: Submission) -> bool:
    return submission.due_ending is Ending.CANCELLED


def _counts(submission: Submission) -> MessageCountsView:
    progress = submission.progress
    if progress is None:
        count = int((submission.metadata or {}).get(REQUESTS, 0))
        failed, cancelled = submission.ending is Ending.FAILED, submission.ending is Ending.CANCELLED
        return MessageCountsView(
            processing=0 if submission.ending else count,
            succeeded=0,
            errored=count if failed else 0,
            canceled=count if cancelled else 0,
            expired=0,
        )
    left = progress.total - progress.completed - progress.failed
    expired = submission.due_ending is Ending.EXPIRED
    stopped = left if submission.ending is not None else progress.cancelled_items
    return MessageCountsView(
        processing=left - stopped,
        succeeded=progress.completed,
        errored=progress.failed,
        canceled=0 if expired else stopped,
        expired=stopped if expired else 0,
    )
