"""Files: what callers upload and what batches write for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

BATCH_FILES_EXPIRE = timedelta(days=30)
"""Input files of batches go after this time unless their owner says otherwise."""
SHORTEST_EXPIRY_S = 3_600
LONGEST_EXPIRY_S = 2_592_000


class Purpose(StrEnum):
    """What a file is for. Callers may upload all but BATCH_OUTPUT, which batches write."""

    ASSISTANTS = "assistants"
    BATCH = "batch"
    FINE_TUNE = "fine-tune"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"
    BATCH_OUTPUT = "batch_output"


@dataclass(frozen=True, slots=True)
class Blob:
    """A content: its SHA-256 (32 bytes) and its size. Equal contents are one blob, whoever's files they are."""

    digest: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be kept. file_id: a UUIDv7; keeping the same id again changes nothing. expires_at None: never."""

    workspace_id: UUID
    environment_id: UUID
    file_id: UUID
    purpose: Purpose
    filename: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class File:
    """A kept file: whole, and readable until it expires or is deleted."""

    workspace_id: UUID
    environment_id: UUID
    file_id: UUID
    purpose: Purpose
    filename: str
    blob: Blob
    created_at: datetime
    expires_at: datetime | None
