"""Submissions: batches that are handed over as a file of lines, and answered with files of lines.

A submission is checked first, asynchronously. When all its lines are good it becomes a batch of the same id, which the
engine runs like any other; what is told of it is written into files beside that, and published when the batch ended.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from scheduler.domain.batch import Endpoint

DEFAULT_MAX_RETRIES = 3
"""Retries of an item of a submission, whatever its resource says."""


class SourceFormat(StrEnum):
    """Whose lines they are; results come back in the same format."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class ExecutionMode(StrEnum):
    """Where the items run: by our own calls, or by the provider's own Batch API."""

    HERE = "here"
    NATIVE = "native"


class WebhookFormat(StrEnum):
    """What a webhook's body looks like."""

    OPENAI = "openai"
    BRIM = "brim"


STANDARD_SECRET = "whsec_"
"""What a secret of Standard Webhooks begins with; base64 follows."""


def is_readable_secret(secret: str) -> bool:
    """Whether verifiers of webhooks get a key out of a secret: they decode what stands behind the prefix, so that no
    signature under another reading of it would ever be accepted."""
    if not secret.startswith(STANDARD_SECRET):
        return bool(secret)
    try:
        return bool(base64.b64decode(secret.removeprefix(STANDARD_SECRET), validate=True))
    except ValueError:
        return False


class Ending(StrEnum):
    """How a submission ended. FAILED: its input was refused, nothing ran. EXPIRED and CANCELLED: what was finished is
    kept."""

    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class SubmissionStatus(StrEnum):
    """VALIDATING → FAILED | IN_PROGRESS (the ingester). IN_PROGRESS → FINALIZING (its batch ended) → COMPLETED (the
    publisher). IN_PROGRESS → EXPIRED (the publisher, after the deadline). VALIDATING | IN_PROGRESS → CANCELLING
    (cancel) → CANCELLED (the ingester or the publisher)."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class LineFault:
    """What is wrong with a line of the input, or with all of it (line None). line: from 1, blank ones counted."""

    code: str
    message: str
    param: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where the events of a submission go. sealed_secrets: the newest first; None: those of the settings."""

    format: WebhookFormat
    url: str
    sealed_secrets: tuple[bytes, ...] | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewSubmission:
    """A submission about to be stored. batch_id: a UUIDv7, the id of the batch that it becomes. metadata: pairs of
    texts, None if there are none. output_expires_after_s: how long its files are kept; None: as long as files of
    batches are."""

    workspace_id: UUID
    environment_id: UUID
    batch_id: UUID
    api_key_id: UUID | None
    source_format: SourceFormat
    execution_mode: ExecutionMode
    input_file_id: UUID
    endpoint: Endpoint
    completion_window: str
    fine_priority: int
    max_retries: int
    metadata: Mapping[str, str] | None
    output_expires_after_s: int | None
    created_at: datetime
    expires_at: datetime
    targets: tuple[WebhookTarget, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageSums:
    """Tokens that the answers written so far report. cached / reasoning: parts of input and output."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PartFile:
    """A file of results as it is recorded: what lies beyond `size_bytes` does not count. crc: CRC-32 of those bytes."""

    size_bytes: int = 0
    lines: int = 0
    crc: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """How far the results are written: outcomes up to event `told_event` are in the two files."""

    told_event: int = 0
    output: PartFile = PartFile()
    errors: PartFile = PartFile()
    usage: UsageSums = UsageSums()


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the batch behind a submission stands. last_event: number of its newest event. begun: a first item was
    claimed. cancelled: by whatever way, its owner's or the deadline's. ended_at: every item has its outcome."""

    total: int
    completed: int
    failed: int
    cancelled_items: int
    last_event: int
    begun: bool
    cancelled: bool
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission as stored, with the progress of its batch; None before that exists.

    model: the resource of all its lines; None while unknown or if there are several. started_at: its start was told.
    expiring_at: when its deadline stopped it. *_file_id: set when it ended, where there is such a file. wants_items:
    somebody is to be told of every item.
    """

    workspace_id: UUID
    environment_id: UUID
    batch_id: UUID
    api_key_id: UUID | None
    source_format: SourceFormat
    execution_mode: ExecutionMode
    input_file_id: UUID
    endpoint: Endpoint
    completion_window: str
    fine_priority: int
    max_retries: int
    metadata: Mapping[str, str] | None
    output_expires_after_s: int | None
    created_at: datetime
    expires_at: datetime
    model: str | None
    stored: int
    in_progress_at: datetime | None
    started_at: datetime | None
    cancelling_at: datetime | None
    expiring_at: datetime | None
    ending: Ending | None
    ended_at: datetime | None
    faults: tuple[LineFault, ...]
    written: Written
    output_file_id: UUID | None
    error_file_id: UUID | None
    progress: Progress | None
    wants_items: bool

    @property
    def status(self) -> SubmissionStatus:
        """Its state, from what has happened to it."""
        match self.ending:
            case Ending.COMPLETED:
                return SubmissionStatus.COMPLETED
            case Ending.FAILED:
                return SubmissionStatus.FAILED
            case Ending.EXPIRED:
                return SubmissionStatus.EXPIRED
            case Ending.CANCELLED:
                return SubmissionStatus.CANCELLED
            case None:
                return self._live_status
            case _:
                assert_never(self.ending)

    @property
    def _live_status(self) -> SubmissionStatus:
        if self.cancelling_at is not None:
            return SubmissionStatus.CANCELLING
        if self.progress is None:
            return SubmissionStatus.VALIDATING
        if self.expiring_at is not None:
            return SubmissionStatus.IN_PROGRESS
        if self.progress.cancelled:
            return SubmissionStatus.CANCELLING
        return SubmissionStatus.IN_PROGRESS if self.progress.ended_at is None else SubmissionStatus.FINALIZING

    @property
    def due_ending(self) -> Ending:
        """How it ends, once its batch has ended."""
        if self.cancelling_at is not None:
            return Ending.CANCELLED
        if self.expiring_at is not None:
            return Ending.EXPIRED
        stopped = self.progress is not None and self.progress.cancelled
        return Ending.CANCELLED if stopped else Ending.COMPLETED
