"""What the fields of an upload must be, in OpenAI's words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from scheduler.domain.errors import BadParameter
from scheduler.domain.file import BATCH_FILES_EXPIRE, LONGEST_EXPIRY_S, SHORTEST_EXPIRY_S, Purpose

NAME_CHARS = 512
UPLOADABLE = tuple(purpose for purpose in Purpose if purpose is not Purpose.BATCH_OUTPUT)
_ANCHOR = "expires_after[anchor]"
_SECONDS = "expires_after[seconds]"


def check_name(filename: str | None, purpose: Purpose) -> str:
    """The name of an uploaded file. Raises BadParameter: missing, too long, unprintable, or no .jsonl for a batch."""
    if not filename:
        raise BadParameter.missing("file")
    if len(filename) > NAME_CHARS or not filename.isprintable():
        raise BadParameter(
            f"The name of the file must be printable and have at most {NAME_CHARS} characters.", param="file"
        )
    if purpose is Purpose.BATCH and not filename.endswith(".jsonl"):
        raise BadParameter("Invalid file format for Batch API. Must be .jsonl", param="file")
    return filename


def check_purpose(text: str | None) -> Purpose:
    """The purpose of an uploaded file. Raises BadParameter."""
    if not text:
        raise BadParameter.missing("purpose")
    return _purpose(text, UPLOADABLE)


def listed_purpose(text: str | None) -> Purpose | None:
    """The purpose that a list is narrowed to, if any. Raises BadParameter."""
    return None if text is None else _purpose(text, tuple(Purpose))


def expiry(fields: Mapping[str, str], purpose: Purpose, created_at: datetime) -> datetime | None:
    """When a file expires: as its owner says, else never, but for the input of a batch. Raises BadParameter."""
    if _ANCHOR not in fields and _SECONDS not in fields:
        return created_at + BATCH_FILES_EXPIRE if purpose is Purpose.BATCH else None
    for name in (_ANCHOR, _SECONDS):
        if name not in fields:
            raise BadParameter.missing(name)
    if fields[_ANCHOR] != "created_at":
        raise BadParameter("Invalid value: the anchor must be 'created_at'.", param=_ANCHOR, reason="invalid_value")
    return created_at + timedelta(seconds=expiry_seconds(fields[_SECONDS], _SECONDS))


def expiry_seconds(value: object, param: str) -> int:
    """A time to live in seconds, as text or as a number. Raises BadParameter."""
    text = str(value)
    seconds = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
    if isinstance(value, bool) or not SHORTEST_EXPIRY_S <= seconds <= LONGEST_EXPIRY_S:
        raise BadParameter(
            f"Invalid value: '{param}' must be a whole number from {SHORTEST_EXPIRY_S} to {LONGEST_EXPIRY_S}.",
            param=param,
            reason="invalid_value",
        )
    return seconds


def _purpose(text: str, known: tuple[Purpose, ...]) -> Purpose:
    for purpose in known:
        if purpose.value == text:
            return purpose
    supported = ", ".join(f"'{purpose.value}'" for purpose in known)
    raise BadParameter(
        f"Invalid value: '{text[:64]}'. Supported values are: {supported}.", param="purpose", reason="invalid_value"
    )
