"""What the OpenAI face tells: files, and batches of files. Unknown fields stay in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .errors import UnexpectedAnswer

FINAL_FILE_BATCH: Final = frozenset({"completed", "failed", "expired", "cancelled"})

_Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on the server. Times are Unix seconds; expires_at None: never."""

    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    raw: _Raw = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Any) -> StoredFile:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no file."""
        wire = _object(raw, "file", "id", "bytes", "filename")
        return cls(
            id=str(wire["id"]),
            bytes=_count(wire["bytes"]),
            created_at=_count(wire.get("created_at")),
            expires_at=None if wire.get("expires_at") is None else _count(wire["expires_at"]),
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
    raw: _Raw = field(repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """True once it is completed, failed, expired or cancelled."""
        return self.status in FINAL_FILE_BATCH

    @classmethod
    def from_wire(cls, raw: Any) -> FileBatch:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no batch."""
        wire = _object(raw, "batch", "id", "status")
        counts, usage = _mapping(wire.get("request_counts")), _mapping(wire.get("usage"))
        faults = _mapping(wire.get("errors")).get("data")
        return cls(
            id=str(wire["id"]),
            status=str(wire["status"]),
            endpoint=str(wire.get("endpoint") or ""),
            input_file_id=str(wire.get("input_file_id") or ""),
            output_file_id=_text(wire.get("output_file_id")),
            error_file_id=_text(wire.get("error_file_id")),
            total=_count(counts.get("total")),
            completed=_count(counts.get("completed")),
            failed=_count(counts.get("failed")),
            input_tokens=_count(usage.get("input_tokens")),
            output_tokens=_count(usage.get("output_tokens")),
            faults=tuple(_fault(_mapping(each)) for each in faults) if isinstance(faults, list) else (),
            metadata={str(name): str(value) for name, value in _mapping(wire.get("metadata")).items()},
            raw=wire,
        )


def _fault(wire: _Raw) -> LineFault:
    line = wire.get("line")
    return LineFault(str(wire.get("code") or ""), str(wire.get("message") or ""), line if type(line) is int else None)


def _object(raw: Any, what: str, *needed: str) -> _Raw:
    if not isinstance(raw, Mapping) or raw.get("object") != what or any(name not in raw for name in needed):
        raise UnexpectedAnswer(f"the server's answer is no {what}: is the URL that of a Brim server?")
    return raw


def _mapping(value: Any) -> _Raw:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0
