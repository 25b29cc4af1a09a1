"""Everything the client raises.

BrimError
├── ConfigurationError        an argument or environment variable is missing or unusable
├── InvalidJsonl              a JSONL file breaks a rule; the message names the line
├── ConnectionFailed          no answer: refused, cut, timed out
├── StreamError               the server ended an event stream with an error, or sent what is no stream
├── UnexpectedAnswer          the answer is not what Brim sends (is the URL right?)
├── WaitTimedOut              `wait` gave up; the batch runs on
└── ApiError                  the server refused: status, code, message, details
    ├── AuthenticationError   401
    ├── PermissionDenied      403
    ├── NotFound              404
    ├── Conflict              409
    ├── TooLarge              413
    ├── Invalid               400, 422
    └── Unavailable           429, 502, 503, 504: try again after `retry_after_s`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .records import Batch


class BrimError(Exception):
    """The root: `except BrimError` catches everything this library raises on purpose."""


class ConfigurationError(BrimError):
    """An argument or environment variable is missing or unusable; the message names both."""


class MissingSettings(ConfigurationError):
    """Neither an argument nor a variable says where Brim is, or who we are; the message names all of them."""


class InvalidJsonl(BrimError, ValueError):
    """A JSONL file breaks a rule; the message names the line."""


class ConnectionFailed(BrimError):
    """No (complete) answer came. What was asked may or may not have happened."""


class StreamError(BrimError):
    """The server reported that the event stream itself failed. The batch may still be running.

    `code` is the server's errorCode if it gave one; `stream(batch_id, last_event_id)` goes on where this one ended.
    """

    def __init__(self, message: str, code: str | None = None, last_event_id: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.last_event_id = last_event_id


class UnexpectedAnswer(BrimError):
    """The answer is not one that Brim gives; most often the URL points at something else."""


class WaitTimedOut(BrimError):
    """`wait` reached its time limit. `batch` is the batch as last seen; it runs on."""

    def __init__(self, batch: Batch, timeout_s: float) -> None:
        super().__init__(f"batch {batch.batch_id} is still {batch.status} after {timeout_s:g} s")
        self.batch = batch


class ApiError(BrimError):
    """The server refused a request.

    `status` is the HTTP status, `code` the server's errorCode (`HTTP_<status>` where an answer has none, as
    from a proxy), `message` its errorMessage, `details` whatever else it said.
    """

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details: Mapping[str, Any] = details if details is not None else {}


class AuthenticationError(ApiError):
    """401: the key is missing, wrong or disabled."""


class PermissionDenied(ApiError):
    """403: the key may not do this here; `details` may name the resources."""


class NotFound(ApiError):
    """404: no such batch, item, resource, workspace or environment."""


class Conflict(ApiError):
    """409: the idempotency key was used for something else, or the state forbids it."""


class TooLarge(ApiError):
    """413: the body, the batch or an item is over the server's configured size."""


class Invalid(ApiError):
    """400 or 422: the request itself is wrong; `details` may list each item's faults."""


class Unavailable(ApiError):
    """The server cannot take it now. `retry_after_s` is its advice in seconds, None where it gave none."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, code, message, details)
        self.retry_after_s = retry_after_s


UNAVAILABLE_STATUSES = frozenset({429, 502, 503, 504})

_FAMILIES: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Invalid,
}


def api_error(
    status: int, code: str, message: str, details: Mapping[str, Any], retry_after_s: float | None
) -> ApiError:
    """The error of the family that `status` belongs to; a plain ApiError for statuses without one."""
    if status in UNAVAILABLE_STATUSES:
        return Unavailable(status, code, message, details, retry_after_s)
    return _FAMILIES.get(status, ApiError)(status, code, message, details)
