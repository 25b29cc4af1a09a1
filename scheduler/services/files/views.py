"""Files as callers of the OpenAI face see them. Times are Unix seconds."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from scheduler.domain.file import File
from scheduler.domain.public_ids import FILE, shown_id


class FileView(Struct, frozen=True, kw_only=True):
    """A file. status: it is shown only once all of it is there."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None


class FilePage(Struct, frozen=True, kw_only=True):
    """A page of files; the last id continues it."""

    object: Literal["list"] = "list"
    data: list[FileView]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(Struct, frozen=True, kw_only=True):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def file_view(file: File) -> FileView:
    """A file as shown."""
    return FileView(
        id=shown_id(FILE, file.file_id),
        bytes=file.blob.size_bytes,
        created_at=int(file.created_at.timestamp()),
        expires_at=None if file.expires_at is None else int(file.expires_at.timestamp()),
        filename=file.filename,
        purpose=file.purpose.value,
    )


def file_page(files: list[FileView], *, more: bool) -> FilePage:
    """A page as shown."""
    return FilePage(
        data=files,
        first_id=files[0].id if files else None,
        last_id=files[-1].id if files else None,
        has_more=more,
    )
