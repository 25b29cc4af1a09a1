"""Contents in an object store, as `<prefix>/<digest>`; drafts on local disk until their digest is known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from scheduler.blobs import drafts
from scheduler.blobs.drafts import DiskDraft
from scheduler.blobs.trouble import told
from scheduler.domain.errors import InvariantBroken
from scheduler.domain.file import Blob
from scheduler.ports.files import Draft

PIECE_BYTES = 1 << 18
PART_BYTES = 8 << 20
"""Of an upload to the store; S3 takes at most 10,000 of them, which is enough for 80 GB."""
PARTS_AT_ONCE = 3


class ObjectBlobs:
    """Implements ports.files.BlobStore. The store's own promise, that an object is there whole or not at all, takes the
    place of renaming."""

    def __init__(self, store: Any, scratch: Path) -> None:
        """store: an object store of obstore. scratch: folder of this machine for drafts."""
        self._store = store
        self._incoming = scratch / "incoming"

    @classmethod
    def at(cls, url: str, scratch: Path) -> ObjectBlobs:
        """The store at a URL; region, keys and endpoint come from its own variables (AWS_…). Raises InvariantBroken for
        a URL of no known kind."""
        try:
            return cls(from_url(url), scratch)
        except BaseError as error:
            raise InvariantBroken(f"BRIM_FILES_URL names no object store: {str(error).partition(chr(10))[0]}") from None

    async def begin(self) -> DiskDraft:
        """A new draft; see the port."""
        return await asyncio.to_thread(drafts.begin, self._incoming)

    async def place(self, draft: Draft) -> Blob:
        """Put a draft under its digest; see the port."""
        if not isinstance(draft, DiskDraft):
            raise InvariantBroken("this draft was not begun here")
        blob = await asyncio.to_thread(draft.seal)
        with _told("placing"):
            if await self._size(blob.digest) != blob.size_bytes:
                await obstore.put_async(
                    self._store,
                    _key(blob.digest),
                    draft.path,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )
        await asyncio.to_thread(draft.discard)
        return blob

    async def open(self, blob: Blob) -> ObjectReading | None:
        """Read a content; see the port."""
        with _told("opening"):
            if await self._size(blob.digest) is None:
                return None
        return ObjectReading(self._store, blob)

    async def reach(self) -> None:
        """Ask for a content that nobody has; see the port."""
        with _told("reaching"):
            await self._size(bytes(32))

    async def remove(self, digest: bytes) -> None:
        """Remove a content; see the port."""
        with _told("removing"), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, _key(digest))

    async def sweep(self) -> int:
        """Remove drafts of processes that died; see the port."""
        return await asyncio.to_thread(drafts.sweep, self._incoming)

    async def _size(self, digest: bytes) -> int | None:
        try:
            return (await obstore.head_async(self._store, _key(digest)))["size"]
        except FileNotFoundError:
            return None


class ObjectReading:
    """Implements ports.files.Reading, with one request for each use of `pieces`."""

    def __init__(self, store: Any, blob: Blob) -> None:
        self._store = store
        self._blob = blob

    @property
    def size_bytes(self) -> int:
        """Of the whole content."""
        return self._blob.size_bytes

    async def pieces(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Its bytes in pieces; see the port."""
        stop = self.size_bytes if end is None else end
        if start >= stop:
            return
        with _told("reading"):
            found = await obstore.get_async(self._store, _key(self._blob.digest), options={"range": (start, stop)})
            stream = aiter(found.stream(min_chunk_size=PIECE_BYTES))
        while True:
            with _told("reading"):
                piece = await anext(stream, None)
            if piece is None:
                return
            yield bytes(piece)

    def close(self) -> None:
        """Nothing is held between two requests."""


def _key(digest: bytes) -> str:
    return digest.hex()


@contextlib.contextmanager
def _told(doing: str) -> Iterator[None]:
    with told(doing):
        try:
            yield
        except BaseError as error:
            raise OSError(str(error).partition("\n")[0]) from error
