"""What the batch engine takes and shows: pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

from scheduler.domain.batch import Endpoint
from scheduler.domain.submission import DEFAULT_MAX_RETRIES, ExecutionMode, SourceFormat

T = TypeVar("T")


class BatchStatus(StrEnum):
    """QUEUED (stored, or being checked) → PROCESSING (a first item was taken) → COMPLETED. QUEUED → FAILED: its input
    was refused. QUEUED → CANCELLED; PROCESSING → CANCELLING → CANCELLED. QUEUED | PROCESSING → EXPIRED."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


FINAL = frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELLED, BatchStatus.EXPIRED})


class ItemStatus(StrEnum):
    """PENDING → PROCESSING → SUCCEEDED | FAILED; CANCELLED and EXPIRED: stopped before."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class SubmissionItem:
    """One request. custom_id: unique within its submission. body: what the endpoint takes (of an ANTHROPIC submission
    what /v1/messages takes); its `model` names a resource."""

    custom_id: str
    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class BatchSubmission:
    """Requests to run. priority: 0 to 255, weight 4 × 2^(priority / 128). max_retries: of an item. expires_after: what
    has not run by then expires. webhook_url: told of every event, signed with webhook_secret."""

    items: Sequence[SubmissionItem]
    endpoint: Endpoint = "/v1/chat/completions"
    source_format: SourceFormat = SourceFormat.OPENAI
    execution_mode: ExecutionMode = ExecutionMode.HERE
    priority: int = 0
    max_retries: int = DEFAULT_MAX_RETRIES
    expires_after: timedelta = timedelta(hours=24)
    metadata: Mapping[str, str] | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Items by what became of them; total is the sum of the others. All 0 while a submission is being checked."""

    total: int = 0
    processing: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A batch as it stands. errors: why its input was refused, line by line."""

    id: str
    status: BatchStatus
    counts: RequestCounts
    endpoint: Endpoint
    source_format: SourceFormat
    execution_mode: ExecutionMode
    priority: int
    max_retries: int
    metadata: Mapping[str, str] | None
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchItem:
    """An item as it stands. result: the answer, in the format of its submission. retries: tries after the first."""

    id: str
    custom_id: str
    status: ItemStatus
    retries: int = 0
    result: Any = field(default=None, repr=False)
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An item that failed for good, with its last error."""

    batch_id: str
    item_id: str
    custom_id: str
    error_code: str | None
    error_message: str | None
    retries: int


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """One event on its way. state: waiting, delivered or dead. attempts: tries made."""

    id: str
    event: str
    state: str
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class JobPage(Generic[T]):
    """A page; `cursor` continues it, None at the end."""

    data: tuple[T, ...]
    cursor: str | None
