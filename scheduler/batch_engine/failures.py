"""What the batch engine raises.

EngineError
├── InvalidSubmission   it cannot run as it is; `field` names what is wrong
├── UnknownBatch        there is no such batch (for this caller)
└── QueueError          a store is away; again after retry_after_s
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all."""


class InvalidSubmission(EngineError):
    """Nothing was stored."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class UnknownBatch(EngineError):
    """No batch has this id."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"There is no batch {batch_id[:100]!r}.")
        self.batch_id = batch_id


class QueueError(EngineError):
    """The backend cannot do it now."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
