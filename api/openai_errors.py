"""Errors in OpenAI's form, on the paths that OpenAI has: `{"error": {"message", "type", "param", "code"}}`.

Statuses are those of the one table, but for what is understood and refused: OpenAI says 400 where we say 422.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.errors import STATUS
from scheduler.domain.errors import BadParameter, BrimError, InvariantBroken, Unavailable


class OpenAIError(Struct, frozen=True):
    """What went wrong; all four keys are always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorBody(Struct, frozen=True):
    """Every error on the paths that OpenAI has."""

    error: OpenAIError


BODY: Final = OpenAIErrorBody
_INVALID_REQUEST: Final = "invalid_request_error"
_SERVER: Final = "server_error"
_CODES: Final[Mapping[str, str | None]] = {
    "UNAUTHENTICATED": "invalid_api_key",
    "NOT_AUTHORIZED": "insufficient_permissions",
    "API_KEY_RESOURCE_NOT_AUTHORIZED": "model_not_found",
    "AI_RESOURCE_NOT_FOUND": "model_not_found",
    "MALFORMED_JSON": "invalid_json",
    "NOT_FOUND": None,
    "VALIDATION_ERROR": None,
    "INVALID_STATE": None,
    "METHOD_NOT_ALLOWED": "method_not_supported",
    "TOO_LARGE": "request_too_large",
    "TOO_MUCH_WAITING": "rate_limit_exceeded",
    "INTERNAL_ERROR": None,
}
"""OpenAI's `code` for ours; codes that are not here are shown in lower case."""
_FRAMEWORK: Final[Mapping[int, tuple[str, str | None]]] = {
    404: ("There is nothing at this path.", "unknown_url"),
    405: ("This path does not take this method.", "method_not_supported"),
}
_log = structlog.get_logger(__name__)


def envelope(
    status: int,
    message: str,
    *,
    kind: str = _INVALID_REQUEST,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error with all four keys. kind: its `type`."""
    body = msgspec.json.encode(OpenAIErrorBody(OpenAIError(message, kind, param, code)))
    return Response(body, status, dict(headers or {}), "application/json")


def internal_error() -> Response:
    """The answer for what should not have happened; it says nothing of the inside."""
    return envelope(500, "The server had an error while processing your request; it was logged.", kind=_SERVER)


def of_error(error: BrimError) -> Response:
    """The answer for one of our own errors."""
    if isinstance(error, InvariantBroken):
        _log.error("invariant.broken", message=error.message)
        return internal_error()
    status = STATUS.get(error.code, 500)
    if isinstance(error, BadParameter):
        return envelope(400, error.message, param=error.param, code=error.reason)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(error.retry_after_s * 1000)))
    code = _CODES.get(error.code, error.code.lower())
    return envelope(400 if status == 422 else status, error.message, kind=_kind(status), code=code, headers=headers)


def of_parameters(error: RequestValidationError) -> Response:
    """The answer for query parameters that the framework refused."""
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return envelope(400, f"Invalid value for '{name}': {first['msg']}.", param=name, code="invalid_value")


def of_framework(error: HTTPException) -> Response:
    """The answer for what the framework itself refuses."""
    message, code = _FRAMEWORK.get(error.status_code, ("The request was refused.", None))
    return envelope(error.status_code, message, kind=_kind(error.status_code), code=code, headers=error.headers)


def _kind(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return _INVALID_REQUEST if status < 500 else _SERVER
