"""The errors of Brim, in families by what the caller should do.

BrimError
├── Rejected            the request is wrong; change it                 (4xx)
│   ├── Unauthenticated · NotAuthorized · NotFound · TooLarge · Malformed
│   └── Invalid · BadParameter
├── Conflict            the state does not allow it now                 (409)
├── Unavailable         a store is down or full; again after retry_after_s  (503 / 429)
└── InvariantBroken     a bug of ours; report it                        (500)

`code` is the contract's errorCode; `message` is written for the caller and never holds internal text.
The HTTP status lives in api/errors.py alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class BrimError(Exception):
    """Base of every error that Brim raises on purpose."""

    default_code = "INTERNAL_ERROR"

    def __init__(self, message: str, *, code: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details = dict(details) if details else None


class Rejected(BrimError):
    """The request cannot be served as it is."""

    default_code = "VALIDATION_ERROR"


class Malformed(Rejected):
    """Not readable at all: MALFORMED_JSON, INVALID_ID."""

    default_code = "MALFORMED_JSON"


class Unauthenticated(Rejected):
    """No key, a wrong one, or a disabled one."""

    default_code = "UNAUTHENTICATED"


class NotAuthorized(Rejected):
    """A good key without the right: NOT_AUTHORIZED, API_KEY_RESOURCE_NOT_AUTHORIZED."""

    default_code = "NOT_AUTHORIZED"


class NotFound(Rejected):
    """`code` names what is missing, for example COMPLETION_BATCH_NOT_FOUND."""

    default_code = "NOT_FOUND"


class TooLarge(Rejected):
    """Over a configured size."""

    default_code = "TOO_LARGE"


class Invalid(Rejected):
    """Understood and refused: VALIDATION_ERROR, ITEM_EXCEEDS_CAPACITY. `details["errors"]` names the fields."""

    default_code = "VALIDATION_ERROR"


class BadParameter(Invalid):
    """One parameter is wrong, on a face that names it in the answer. param: its name as the caller wrote it, None for
    the whole. reason: what that face calls the problem, as `missing_required_parameter`."""

    def __init__(self, message: str, *, param: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.reason = reason

    @classmethod
    def missing(cls, param: str) -> BadParameter:
        """The refusal of a request that lacks `param`."""
        return cls(f"Missing required parameter: '{param}'.", param=param, reason="missing_required_parameter")


class Conflict(BrimError):
    """IDEMPOTENCY_CONFLICT, IN_PROGRESS, ALREADY_EXISTS, INVALID_STATE."""

    default_code = "INVALID_STATE"


class Unavailable(BrimError):
    """A store is down (UNAVAILABLE) or too much waits (TOO_MUCH_WAITING); try again after `retry_after_s`."""

    default_code = "UNAVAILABLE"

    def __init__(self, message: str, *, retry_after_s: float = 1.0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class InvariantBroken(BrimError):
    """Something that cannot be happened; the message is for the log, not for callers."""
