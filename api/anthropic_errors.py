"""Errors in Anthropic's form, on the paths that Anthropic has: `{"type": "error", "error": {"type", "message"}}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.errors import STATUS
from scheduler.domain.errors import BrimError, InvariantBroken, Unavailable


class AnthropicError(Struct, frozen=True):
    """What went wrong."""

    type: str
    message: str


class AnthropicErrorBody(Struct, frozen=True, kw_only=True):
    """Every error on the paths that Anthropic has."""

    type: Literal["error"] = "error"
    error: AnthropicError


BODY: Final = AnthropicErrorBody
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_FRAMEWORK: Final[Mapping[int, str]] = {
    404: "There is nothing at this path.",
    405: "This path does not take this method.",
}
_log = structlog.get_logger(__name__)


def envelope(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error of this status."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    body = msgspec.json.encode(AnthropicErrorBody(error=AnthropicError(kind, message)))
    return Response(body, status, dict(headers or {}), "application/json")


def internal_error() -> Response:
    """The answer for what should not have happened; it says nothing of the inside."""
    return envelope(500, "Internal server error; it was logged.")


def of_error(error: BrimError) -> Response:
    """The answer for one of our own errors. What the state does not allow is 400 here, too."""
    if isinstance(error, InvariantBroken):
        _log.error("invariant.broken", message=error.message)
        return internal_error()
    status = STATUS.get(error.code, 500)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return envelope(400 if status in (409, 422) else status, error.message, headers)


def of_parameters(error: RequestValidationError) -> Response:
    """The answer for query parameters that the framework refused."""
    first = error.errors()[0]
    return envelope(400, f"{first['loc'][-1]}: {first['msg']}")


def of_framework(error: HTTPException) -> Response:
    """The answer for what the framework itself refuses."""
    return envelope(error.status_code, _FRAMEWORK.get(error.status_code, "The request was refused."), error.headers)
