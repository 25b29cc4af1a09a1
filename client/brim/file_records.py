"""What the OpenAI face tells: files, and batches of files. Unknown fields stay in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .wire import Wire, count, count_or_none, elements, object_of, object_or_none, text

FINAL_FILE_BATCH: Final = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on the server. Times are Unix seconds; expires_at None: never."""

    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    raw: Wire = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Any) -> StoredFile:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no file."""
        wire = _object(raw, "file", "id", "bytes", "filename")
        return cls(
            id=str(wire["id"]),
            bytes=count(wire["bytes"]),
            created_at=count(wire.get("created_at")),
            expires_at=count_or_none(wire.get("expires_at")),
            filename=str(wire["filename"]),
            purpose=str(wire.get("purpose") or ""),
            raw=wire,
        )


@dataclass(frozen=True, slots=True)
class LineFault:
    """What is wrong with a line of the input; line None: with all of it."""

    code: str
    message: str
    line: int | None


@dataclass(frozen=True, slots=True)
class FileBatch:
    """A batch of the OpenAI face as it was when the server answered.

    `status` is validating, in_progress, finalizing or cancelling, and in the end completed (every request has its
    answer, good or bad), failed (the input was refused, `faults` says why), expired or cancelled.
    """

    id: str
    status: str
    endpoint: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    total: int
    completed: int
    failed: int
    input_tokens: int
    output_tokens: int
    faults: tuple[LineFault, ...]
    metadata: Mapping[str, str]
    raw: Wire = field(repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """True once it is completed, failed, expired or cancelled."""
        return self.status in FINAL_FILE_BATCH

    @classmethod
    def from_wire(cls, raw: Any) -> FileBatch:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no batch."""
        wire = _object(raw, "batch", "id", "status")
        counts, usage = _part(wire, "request_counts"), _part(wire, "usage")
        return cls(
            id=str(wire["id"]),
            status=str(wire["status"]),
            endpoint=str(wire.get("endpoint") or ""),
            input_file_id=str(wire.get("input_file_id") or ""),
            output_file_id=text(wire.get("output_file_id")),
            error_file_id=text(wire.get("error_file_id")),
            total=count(counts.get("total")),
            completed=count(counts.get("completed")),
            failed=count(counts.get("failed")),
            input_tokens=count(usage.get("input_tokens")),
            output_tokens=count(usage.get("output_tokens")),
            faults=tuple(map(_fault, elements(_part(wire, "errors").get("data")))),
            metadata={str(name): str(value) for name, value in _part(wire, "metadata").items()},
            raw=wire,
        )


def _fault(raw: Any) -> LineFault:
    wire = object_or_none(raw) or {}
    line = wire.get("line")
    return LineFault(str(wire.get("code") or ""), str(wire.get("message") or ""), line if type(line) is int else None)


def _part(wire: Wire, name: str) -> Wire:
    return object_or_none(wire.get(name)) or {}


def _object(raw: Any, what: str, *needed: str) -> Wire:
    """An object of OpenAI's: it says what it is."""
    return object_of(raw if object_of(raw, what, "object")["object"] == what else None, what, *needed)
