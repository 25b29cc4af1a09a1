"""From errors to answers: the one table of HTTP statuses, and our own form of every error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.responses import Response

from scheduler.domain.errors import BrimError, InvariantBroken, Unavailable

STATUS: Final[Mapping[str, int]] = {
    "MALFORMED_JSON": 400,
    "INVALID_ID": 400,
    "UNAUTHENTICATED": 401,
    "NOT_AUTHORIZED": 403,
    "API_KEY_RESOURCE_NOT_AUTHORIZED": 403,
    "NOT_FOUND": 404,
    "COMPLETION_BATCH_NOT_FOUND": 404,
    "COMPLETION_BATCH_ITEM_NOT_FOUND": 404,
    "AI_RESOURCE_NOT_FOUND": 404,
    "AI_CONNECTION_NOT_FOUND": 404,
    "API_KEY_NOT_FOUND": 404,
    "POOL_DEFINITION_NOT_FOUND": 404,
    "WORKSPACE_NOT_FOUND": 404,
    "ENVIRONMENT_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "IDEMPOTENCY_CONFLICT": 409,
    "IN_PROGRESS": 409,
    "ALREADY_EXISTS": 409,
    "INVALID_STATE": 409,
    "TOO_LARGE": 413,
    "UNSUPPORTED_ENCODING": 415,
    "VALIDATION_ERROR": 422,
    "ITEM_EXCEEDS_CAPACITY": 422,
    "TOO_MUCH_WAITING": 429,
    "INTERNAL_ERROR": 500,
    "UNAVAILABLE": 503,
}
"""Every errorCode that a caller can meet; a test holds that no other is raised anywhere."""

_FRAMEWORK: Final[Mapping[int, tuple[str, str]]] = {
    404: ("NOT_FOUND", "There is nothing at this path; GET /openapi.json lists all."),
    405: ("METHOD_NOT_ALLOWED", "This path does not take this method."),
}


class ErrorBody(Struct, rename="camel"):
    """Every error. details.errors names fields, with the index of their item."""

    error_code: str
    error_message: str
    details: dict[str, Any] | None = None


BODY: Final = ErrorBody
_log = structlog.get_logger(__name__)


def error_body(code: str, message: str, details: Mapping[str, Any] | None = None) -> bytes:
    """The contract's error as JSON."""
    body: dict[str, Any] = {"errorCode": code, "errorMessage": message}
    if details:
        body["details"] = details
    return msgspec.json.encode(body)


def answer(
    code: str, message: str, details: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer for an errorCode; a code that nobody listed is a bug of ours, hence a 500."""
    status = STATUS.get(code, 500)
    return Response(error_body(code, message, details), status, dict(headers or {}), "application/json")


def internal_error() -> Response:
    """The answer for what should not have happened; it says nothing of the inside."""
    return answer("INTERNAL_ERROR", "Something went wrong on our side; it was logged.")


def of_error(error: BrimError) -> Response:
    """The answer for one of our own errors."""
    if isinstance(error, InvariantBroken):
        _log.error("invariant.broken", message=error.message)
        return internal_error()
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.code == "UNAUTHENTICATED":
        headers["WWW-Authenticate"] = "Bearer"
    return answer(error.code, error.message, error.details, headers)


def of_parameters(error: RequestValidationError) -> Response:
    """The answer for path and query parameters that the framework refused: INVALID_ID for a path id."""
    problems = [
        {"field": str(each["loc"][-1]), "message": str(each["msg"]), "errorCode": "VALIDATION_ERROR"}
        for each in error.errors()
    ]
    if any(each["loc"][0] == "path" for each in error.errors()):
        named = next(str(each["loc"][-1]) for each in error.errors() if each["loc"][0] == "path")
        return answer("INVALID_ID", f"{named} in the path must be a UUID.")
    first = problems[0]
    return answer("VALIDATION_ERROR", f"{first['field']}: {first['message']}", {"errors": problems})


def of_framework(error: HTTPException) -> Response:
    """The answer for what the framework itself refuses."""
    code, message = _FRAMEWORK.get(error.status_code, ("INTERNAL_ERROR", "The request was refused."))
    response = answer(code, message, headers=error.headers)
    if code == "INTERNAL_ERROR":
        response.status_code = error.status_code
    return response
