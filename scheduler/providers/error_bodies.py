"""The `error` object of a refusal, in whichever form it comes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MESSAGE_CHARS = 2_000
"""A provider's message is cut to this length before it is kept."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a refusal says, as far as it does. names: its code and type in lower case."""

    names: frozenset[str]
    message: str


def decoded(body: bytes) -> Any:
    """The body as JSON; None when it is none. Slow: only for refusals and for what msgspec refused."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def error_in(body: bytes) -> dict[str, Any]:
    """The error object: `error` of the body, or the body itself; Gemini puts it into a list of one. Empty if none."""
    found = decoded(body)
    if isinstance(found, list) and found:
        found = found[0]
    error = found.get("error", found) if isinstance(found, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def problem_in(body: bytes) -> Problem:
    """The names and the message of a refusal."""
    error = error_in(body)
    details = error.get("details")
    values = [error.get("code"), error.get("type"), error.get("status")]
    if isinstance(details, dict):  # Anthropic's spend limit stands one level deeper
        values += [details.get("error_code"), details.get("code"), details.get("type")]
    message = error.get("message")
    return Problem(
        frozenset(str(value).lower() for value in values if value is not None),
        storable(message) if isinstance(message, str) else "",
    )


def storable(text: str) -> str:
    """Short, and fit for text in Postgres (no NUL, no half surrogate)."""
    return text[:MESSAGE_CHARS].replace("\x00", "").encode(errors="replace").decode()
