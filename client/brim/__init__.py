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
from .jsonl import ValidatedJsonl, validate_jsonl
from .records import Batch, DeadLetter, Delivery, Event, Headroom, Item, Replay
from .retrying import RetryPolicy
from .submission import CallbackOptions, Capacity, NewItem

__all__ = [
    "ApiError",
    "AsyncClient",
    "AuthenticationError",
    "Batch",
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
    "Headroom",
    "Invalid",
    "InvalidJsonl",
    "Item",
    "NewItem",
    "NotFound",
    "PermissionDenied",
    "Replay",
    "RetryPolicy",
    "StreamError",
    "TooLarge",
    "Unavailable",
    "UnexpectedAnswer",
    "ValidatedJsonl",
    "WaitTimedOut",
    "validate_jsonl",
]
