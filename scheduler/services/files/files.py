"""Files: kept, read, listed, deleted, swept. Rows and contents in the one order that survives every crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from scheduler.domain.errors import BrimError, InvariantBroken
from scheduler.domain.file import File, NewFile, Purpose
from scheduler.ports.files import BlobStore, Draft, FileStore, Reading
from scheduler.ports.pages import Page

ABANDONED_AFTER = timedelta(hours=1)
"""A file that was announced so long ago and is not ready was left by its process: the step between takes seconds."""
_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Swept:
    """One sweep: files forgotten, contents removed, drafts of dead processes removed."""

    files: int = 0
    contents: int = 0
    drafts: int = 0


class Files:
    """What faces and workers do with files."""

    def __init__(self, store: FileStore, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs

    @asynccontextmanager
    async def drafting(self) -> AsyncIterator[Draft]:
        """A draft for the block, which writes it (in threads) and hands it to `keep`; otherwise it is thrown away."""
        draft = await self._blobs.begin()
        try:
            yield draft
        finally:
            await asyncio.to_thread(draft.discard)

    async def keep(self, draft: Draft, new: NewFile) -> File:
        """Keep a draft as a file: durable and visible when this returns. Keeping the same file id again, also from
        another process after a crash, changes nothing and answers the file that is there. Raises NotFound for a tenant
        that does not exist, Invalid for a name that cannot be stored, Unavailable."""
        blob = await asyncio.to_thread(draft.seal)
        # Announced before it is placed: from here on nobody removes this content.
        if await self._store.announce(new, blob):
            await self._blobs.place(draft)
        return await self._store.ready(new.file_id)

    async def get(self, environment_id: UUID, file_id: UUID) -> File | None:
        """A file of this environment; None for all others, and once it expired."""
        return await self._store.get(environment_id, file_id)

    async def page(
        self, environment_id: UUID, *, purpose: Purpose | None, newest_first: bool, after: UUID | None, limit: int
    ) -> Page[File]:
        """A page of files by id; see ports.files.FileStore."""
        return await self._store.page(
            environment_id, purpose=purpose, newest_first=newest_first, after=after, limit=limit
        )

    async def open(self, file: File) -> Reading | None:
        """The content of a file, to be closed by the caller; None when the file was deleted since it was read."""
        reading = await self._blobs.open(file.blob)
        if reading is None and await self._store.get(file.environment_id, file.file_id) is not None:
            raise InvariantBroken(f"the content of file {file.file_id} is missing from the file store")
        return reading

    async def check(self) -> str | None:
        """What is wrong with the file store as this process sees it; None: nothing. Raises Unavailable."""
        await self._blobs.reach()
        newest = await self._store.newest()
        reading = None if newest is None else await self._blobs.open(newest.blob)
        if reading is None and newest is not None:
            return "the newest file is not there: do all processes share one folder or object store?"
        if reading is not None:
            reading.close()
        return None

    async def delete(self, environment_id: UUID, file_id: UUID) -> bool:
        """Forget a file, and its content if no other file has the same; False if it does not exist."""
        blob = await self._store.delete(environment_id, file_id)
        if blob is None:
            return False
        try:
            await self._remove(blob.digest)
        except BrimError:
            return True  # the file is gone; the sweep removes the content
        return True

    async def sweep(self, now: datetime) -> Swept:
        """Forget what expired or was never finished, remove contents that nobody refers to, and what dead processes
        left. Bounded work a call; safe from many processes at once."""
        forgotten = await self._store.forget(now, now - ABANDONED_AFTER, _CHUNK)
        digests = {blob.digest for blob in forgotten} | set(await self._store.unused(_CHUNK))
        removed = [await self._remove(digest) for digest in digests]
        return Swept(len(forgotten), sum(removed), await self._blobs.sweep())

    async def _remove(self, digest: bytes) -> bool:
        async with self._store.removing(digest) as unused:
            if unused:
                await self._blobs.remove(digest)
            return unused
