"""From what Brim stores to what the batch engine shows: pure."""

from __future__ import annotations

import json
from typing import Any, assert_never

from scheduler.batch_engine.jobs import (
    BatchItem,
    BatchJob,
    BatchStatus,
    DeadLetter,
    ItemStatus,
    RequestCounts,
    WebhookDelivery,
)
from scheduler.domain import status as stored
from scheduler.domain.batch import Item
from scheduler.domain.ids import ItemIds
from scheduler.domain.public_ids import BATCH, ITEM, shown_id
from scheduler.domain.submission import Ending, SourceFormat, Submission, SubmissionStatus
from scheduler.ports.deliveries import DeliveryRecord
from scheduler.providers.anthropic.to_message import to_message
from scheduler.services.batches.dead_letters import DeadLetterView
from scheduler.services.submissions.events import counts_of


def job_of(submission: Submission) -> BatchJob:
    """A submission as a job."""
    return BatchJob(
        id=shown_id(BATCH, submission.batch_id),
        status=_status(submission),
        counts=RequestCounts(**counts_of(submission)),
        endpoint=submission.endpoint,
        source_format=submission.source_format,
        execution_mode=submission.execution_mode,
        priority=submission.fine_priority,
        max_retries=submission.max_retries,
        metadata=submission.metadata,
        created_at=submission.created_at,
        expires_at=submission.expires_at,
        ended_at=submission.ended_at,
        errors=tuple(
            fault.message if fault.line is None else f"Line {fault.line}: {fault.message}"
            for fault in submission.faults
        ),
    )


def _status(submission: Submission) -> BatchStatus:
    match submission.status:
        case SubmissionStatus.VALIDATING:
            return BatchStatus.QUEUED
        case SubmissionStatus.IN_PROGRESS | SubmissionStatus.FINALIZING:
            begun = submission.progress is not None and submission.progress.begun
            return BatchStatus.PROCESSING if begun else BatchStatus.QUEUED
        case SubmissionStatus.FAILED | SubmissionStatus.COMPLETED | SubmissionStatus.EXPIRED as same:
            return BatchStatus(same.value)
        case SubmissionStatus.CANCELLING | SubmissionStatus.CANCELLED as same:
            return BatchStatus(same.value)
        case _:
            assert_never(submission.status)


def item_of(submission: Submission, item: Item, status: stored.ItemStatus) -> BatchItem:
    """An item; status: with what runs now."""
    shown = _item_status(submission, item, status)
    return BatchItem(
        id=shown_id(ITEM, ItemIds(item.batch_id).of(item.seq)),
        custom_id=item.custom_id or "",
        status=shown,
        retries=item.retry_count,
        result=_result(submission, item) if shown is ItemStatus.SUCCEEDED else None,
        error_code=item.error_code,
        error_message=item.error_message,
    )


def _item_status(submission: Submission, item: Item, status: stored.ItemStatus) -> ItemStatus:
    match status:
        case stored.ItemStatus.PENDING:
            return ItemStatus.PENDING
        case stored.ItemStatus.RUNNING:
            return ItemStatus.PROCESSING
        case stored.ItemStatus.COMPLETED:
            return ItemStatus.SUCCEEDED
        case stored.ItemStatus.FAILED:
            return ItemStatus.EXPIRED if item.error_code == "DEADLINE_EXCEEDED" else ItemStatus.FAILED
        case stored.ItemStatus.CANCELLED:
            return ItemStatus.EXPIRED if submission.due_ending is Ending.EXPIRED else ItemStatus.CANCELLED
        case _:
            assert_never(status)


def _result(submission: Submission, item: Item) -> Any:
    if item.response is None:
        return None
    if submission.source_format is SourceFormat.ANTHROPIC:
        return to_message(item.response, f"msg_{ItemIds(item.batch_id).of(item.seq).hex}")
    return json.loads(item.response)


def dead_letter_of(letter: DeadLetterView) -> DeadLetter:
    """A dead letter."""
    return DeadLetter(
        batch_id=shown_id(BATCH, letter.batch_id),
        item_id=shown_id(ITEM, letter.item_id),
        custom_id=letter.custom_id or "",
        error_code=letter.error_code,
        error_message=letter.error_message,
        retries=letter.retry_count,
    )


def delivery_of(record: DeliveryRecord) -> WebhookDelivery:
    """A delivery."""
    return WebhookDelivery(
        id=f"whd_{record.delivery_id.hex}",
        event=record.event or record.kind,
        state=record.state,
        attempts=record.attempts,
        last_error=record.last_error,
    )
