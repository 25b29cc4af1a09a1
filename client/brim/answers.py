"""From what HTTP gave to a value or an error: shared by both clients, no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from .endpoints import Call
from .errors import (
    ApiError,
    BrimError,
    ConfigurationError,
    ConnectionFailed,
    NotFound,
    StreamError,
    UnexpectedAnswer,
    api_error,
)

_T = TypeVar("_T")
_MAX_FOREIGN_CHARS = 200


def read_answer(call: Call[_T], response: httpx.Response) -> _T:
    """The answer's value. Raises an ApiError for a refusal, UnexpectedAnswer for what is not Brim's."""
    raise_refusal(response)
    try:
        raw = json.loads(response.content)
    except (ValueError, RecursionError):
        raise UnexpectedAnswer(
            f"{response.request.url} answered {response.status_code} with something that is no JSON"
        ) from None
    return call.read(raw)


def raise_refusal(response: httpx.Response) -> None:
    """Raise the ApiError of an answer that is no success; its body must have been read."""
    if response.is_success:
        return
    code, message, details = f"HTTP_{response.status_code}", "", {}
    try:
        raw = json.loads(response.content)
    except (ValueError, RecursionError):
        raw = None
    if isinstance(raw, Mapping):
        code = str(raw.get("errorCode") or code)
        message = str(raw.get("errorMessage") or "")
        found = raw.get("details")
        details = dict(found) if isinstance(found, Mapping) else ({} if found is None else {"details": found})
        if isinstance(raw.get("error"), Mapping):  # the OpenAI face's own form
            code = str(raw["error"].get("code") or raw["error"].get("type") or code)
            message = str(raw["error"].get("message") or "")
            details = {"param": raw["error"].get("param")}
    if not message:
        message = _foreign_message(response)
    advice_s = _retry_after_s(response.headers.get("retry-after"))
    raise api_error(response.status_code, code, message, details, advice_s)


def require_event_stream(response: httpx.Response) -> None:
    """Raise StreamError when a successful answer is no SSE stream."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise StreamError(f"{response.request.url} answered {kind or 'no content type'}, not an event stream")


def failure(error: httpx.HTTPError | httpx.InvalidURL, base_url: str) -> BrimError:
    """Our error for one of httpx's: each of theirs has exactly one."""
    reason = str(error) or type(error).__name__
    match error:
        case httpx.TimeoutException():
            return ConnectionFailed(f"{base_url} did not answer in time ({type(error).__name__})")
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            return ConfigurationError(f"cannot use the URL {base_url}: {reason}")
        case httpx.TransportError():
            return ConnectionFailed(f"cannot reach {base_url}: {reason}")
        case _:
            return UnexpectedAnswer(f"cannot read the answer of {base_url}: {reason}")


def lacks_results(error: ApiError) -> bool:
    """Whether a refusal of GET …/results means that this server has no such endpoint.

    Without it the path reads as that of an item called "results", which is no valid id or no such item.
    """
    if isinstance(error, NotFound):
        return error.code != "COMPLETION_BATCH_NOT_FOUND"
    return error.status == 405 or (error.status == 400 and error.code == "INVALID_ID")


def _foreign_message(response: httpx.Response) -> str:
    text = response.text.strip()
    if not text or text.startswith("<"):
        return response.reason_phrase or "no message"
    return text if len(text) <= _MAX_FOREIGN_CHARS else text[:_MAX_FOREIGN_CHARS] + "…"


def _retry_after_s(value: Any) -> float | None:
    """Seconds from a Retry-After header: a number or a date. None when absent or unreadable."""
    if not isinstance(value, str):
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None
