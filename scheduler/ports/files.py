"""Files as their users see them: rows in the store, contents among the blobs.

A row counts as a reference to its content from the moment it is announced, before the content is in its place; so
no content that somebody is about to need is ever removed, whichever process dies where.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from scheduler.domain.file import Blob, File, NewFile, Purpose
from scheduler.ports.pages import Page


class FileStore(Protocol):
    """The rows. Expired files are not found, whether or not they were swept already."""

    async def announce(self, file: NewFile, blob: Blob) -> bool:
        """Refer to a content that is about to be placed; nobody sees the file yet. Repeating it is harmless; False
        when this file is there already, ready. NotFound ENVIRONMENT_NOT_FOUND."""
        ...

    async def ready(self, file_id: UUID) -> File:
        """The content is in its place: from now on the file is there. Repeating it is harmless."""
        ...

    async def get(self, environment_id: UUID, file_id: UUID) -> File | None:
        """One that is ready; None if there is none in that environment."""
        ...

    async def page(
        self, environment_id: UUID, *, purpose: Purpose | None, newest_first: bool, after: UUID | None, limit: int
    ) -> Page[File]:
        """By file id, hence by time. `after`: the last id of the page before, which need not exist any more."""
        ...

    async def newest(self) -> File | None:
        """The newest file of all: its content must be there for every process."""
        ...

    async def delete(self, environment_id: UUID, file_id: UUID) -> Blob | None:
        """Forget a file; its content, which may have become unused. None if it does not exist."""
        ...

    async def forget(self, now: datetime, abandoned_before: datetime, limit: int) -> Sequence[Blob]:
        """Forget up to `limit` files that expired by `now` or were announced before `abandoned_before` and never
        became ready; their contents."""
        ...

    async def unused(self, limit: int) -> Sequence[bytes]:
        """Digests of contents that no file refers to (their removal was cut short)."""
        ...

    def removing(self, digest: bytes) -> AbstractAsyncContextManager[bool]:
        """A short transaction that yields True when no file refers to the content and none can until it ends: remove
        the content inside, then its row goes. False: it is in use, leave it."""
        ...


class Draft(Protocol):
    """A content being written. `write` and `seal` block: call them in a thread. One that is neither placed nor
    discarded goes with its process, whatever ends it."""

    @property
    def size_bytes(self) -> int:
        """Written so far."""
        ...

    def write(self, piece: bytes | memoryview) -> None:
        """Append. OSError when the disk is full."""
        ...

    def seal(self) -> Blob:
        """All is written: it is durable under its temporary name, and its digest known. Repeating it is harmless."""
        ...

    def discard(self) -> None:
        """Throw it away; safe to repeat, and after it was placed."""
        ...


class Reading(Protocol):
    """An open content: it stays readable while it is open, also when its file is deleted meanwhile."""

    @property
    def size_bytes(self) -> int:
        """Of all of it."""
        ...

    def pieces(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Its bytes from `start` up to (not including) `end`, in pieces of bounded size. Use it once."""
        ...

    def close(self) -> None:
        """Let go of it; safe to repeat."""
        ...


class BlobStore(Protocol):
    """Contents by their SHA-256. Nothing else ever becomes part of a path. Trouble with the disk or the object store
    raises errors.Unavailable."""

    async def begin(self) -> Draft:
        """A new draft, under a temporary name."""
        ...

    async def place(self, draft: Draft) -> Blob:
        """Seal a draft and put it under its digest, durably, and at once: readers see all of it or nothing. A content
        that is there already stays as it is. Announce the file first."""
        ...

    async def open(self, blob: Blob) -> Reading | None:
        """Read a content; None when it is not there."""
        ...

    async def reach(self) -> None:
        """Look whether it could be used, without changing anything. Raises Unavailable."""
        ...

    async def remove(self, digest: bytes) -> None:
        """Remove a content; harmless when it is not there."""
        ...

    async def sweep(self) -> int:
        """Remove drafts whose processes died; how many."""
        ...
