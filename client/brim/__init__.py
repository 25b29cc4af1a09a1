"""Client for Brim, the capacity-aware scheduler for LLM requests."""

from .async_client import AsyncClient
from .client import Client
from .errors import (
    ApiError,
    AuthenticationError,
    BrimError,
    ConfigurationError,
    Conflict,
    ConnectionFailed,
    Invalid,
    InvalidJsonl,
    NotFound,
    PermissionDenied,
    StreamError,
    TooLarge,
    Unavailable,
    UnexpectedAnswer,
    WaitTimedOut,
)
from .explanations import Connection, Explanation
from .file_batches import FileBatches
from .file_records import FileBatch, LineFault, StoredFile
from .jsonl import ValidatedJsonl, validate_jsonl
from .records import Batch, DeadLetter, Delivery, Event, Headroom, Item, Replay
from .retrying import RetryPolicy
from .submission import BatchChanges, CallbackOptions, Capacity, NewItem

__all__ = [
    "ApiError",
    "AsyncClient",
    "AuthenticationError",
    "Batch",
    "BatchChanges",
    "BrimError",
    "CallbackOptions",
    "Capacity",
    "Client",
    "ConfigurationError",
    "Conflict",
    "Connection",
    "ConnectionFailed",
    "DeadLetter",
    "Delivery",
    "Event",
    "Explanation",
    "FileBatch",
    "FileBatches",
    "Headroom",
    "Invalid",
    "InvalidJsonl",
    "Item",
    "LineFault",
    "NewItem",
    "NotFound",
    "PermissionDenied",
    "Replay",
    "RetryPolicy",
    "StoredFile",
    "StreamError",
    "TooLarge",
    "Unavailable",
    "UnexpectedAnswer",
    "ValidatedJsonl",
    "WaitTimedOut",
    "validate_jsonl",
]
