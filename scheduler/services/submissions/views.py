"""Submissions as callers of the OpenAI face see them. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct

from scheduler.domain.public_ids import BATCH, FILE, shown_id
from scheduler.domain.submission import Ending, LineFault, Submission, SubmissionStatus, UsageSums


class FaultView(Struct, frozen=True):
    """A bad line, or what is wrong with all of the input."""

    code: str
    message: str
    param: str | None
    line: int | None


class FaultsView(Struct, frozen=True, kw_only=True):
    """Why a batch failed."""

    object: Literal["list"] = "list"
    data: list[FaultView]


class RequestCountsView(Struct, frozen=True):
    """Requests of a batch; all 0 while it is validated."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class InputDetails(Struct, frozen=True):
    """A part of the input tokens."""

    cached_tokens: int


class OutputDetails(Struct, frozen=True):
    """A part of the output tokens."""

    reasoning_tokens: int


class UsageView(Struct, frozen=True, kw_only=True):
    """Tokens of the requests that completed so far."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class OpenAIBatchView(Struct, frozen=True, kw_only=True):
    """A batch. model: when all its requests name the same. priority, execution_mode: ours."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: FaultsView | None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCountsView
    usage: UsageView | None
    metadata: Mapping[str, str] | None
    priority: int
    execution_mode: Literal["here", "native"]


class OpenAIBatchPage(Struct, frozen=True, kw_only=True):
    """A page of batches, newest first; the last id continues it."""

    object: Literal["list"] = "list"
    data: list[OpenAIBatchView]
    first_id: str | None
    last_id: str | None
    has_more: bool


def openai_batch_view(submission: Submission) -> OpenAIBatchView:
    """A submission as shown."""
    status, progress = submission.status, submission.progress
    finalized = status in (SubmissionStatus.FINALIZING, SubmissionStatus.COMPLETED)
    output, errors = submission.output_file_id, submission.error_file_id
    return OpenAIBatchView(
        id=shown_id(BATCH, submission.batch_id),
        endpoint=submission.endpoint,
        model=submission.model,
        errors=FaultsView(data=[_fault(fault) for fault in submission.faults]) if submission.faults else None,
        input_file_id=shown_id(FILE, submission.input_file_id),
        completion_window=submission.completion_window,
        status=status.value,
        output_file_id=None if output is None else shown_id(FILE, output),
        error_file_id=None if errors is None else shown_id(FILE, errors),
        created_at=int(submission.created_at.timestamp()),
        in_progress_at=_seconds(submission.in_progress_at),
        expires_at=int(submission.expires_at.timestamp()),
        finalizing_at=_seconds(progress.ended_at) if finalized and progress else None,
        completed_at=_ended_as(submission, Ending.COMPLETED),
        failed_at=_ended_as(submission, Ending.FAILED),
        expired_at=_ended_as(submission, Ending.EXPIRED),
        cancelling_at=_cancelling_at(submission),
        cancelled_at=_ended_as(submission, Ending.CANCELLED),
        request_counts=RequestCountsView(progress.total, progress.completed, progress.failed)
        if progress
        else RequestCountsView(),
        usage=None if progress is None else _usage(submission.written.usage),
        metadata=submission.metadata,
        priority=submission.fine_priority,
        execution_mode=submission.execution_mode.value,
    )


def openai_batch_page(batches: list[OpenAIBatchView], *, more: bool) -> OpenAIBatchPage:
    """A page as shown."""
    return OpenAIBatchPage(
        data=batches,
        first_id=batches[0].id if batches else None,
        last_id=batches[-1].id if batches else None,
        has_more=more,
    )


def _cancelling_at(submission: Submission) -> int | None:
    """Also of a batch that was cancelled on another face, where the time was not noted: its end then."""
    cancelled = submission.ending is Ending.CANCELLED
    return _seconds(submission.cancelling_at or (submission.ended_at if cancelled else None))


def _ended_as(submission: Submission, ending: Ending) -> int | None:
    return _seconds(submission.ended_at) if submission.ending is ending else None


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def _fault(fault: LineFault) -> FaultView:
    return FaultView(fault.code, fault.message, fault.param, fault.line)


def _usage(sums: UsageSums) -> UsageView:
    return UsageView(
        input_tokens=sums.input_tokens,
        input_tokens_details=InputDetails(sums.cached_tokens),
        output_tokens=sums.output_tokens,
        output_tokens_details=OutputDetails(sums.reasoning_tokens),
        total_tokens=sums.input_tokens + sums.output_tokens,
    )
