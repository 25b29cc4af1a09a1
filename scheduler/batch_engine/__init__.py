"""The batch engine as a library: for code that embeds Brim. `BatchEngine` over two narrow ports, which the reference
backend (Postgres and Redis) and the in-memory form implement."""

from scheduler.batch_engine.engine import BatchEngine
from scheduler.batch_engine.failures import EngineError, InvalidSubmission, QueueError, UnknownBatch
from scheduler.batch_engine.jobs import (
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
from scheduler.domain.submission import ExecutionMode, SourceFormat

__all__ = [
    "BatchEngine",
    "BatchItem",
    "BatchJob",
    "BatchStatus",
    "BatchSubmission",
    "DeadLetter",
    "EngineError",
    "ExecutionMode",
    "InvalidSubmission",
    "ItemStatus",
    "JobPage",
    "QueueError",
    "RequestCounts",
    "SourceFormat",
    "SubmissionItem",
    "UnknownBatch",
    "WebhookDelivery",
]
