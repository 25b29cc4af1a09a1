"""Contents on local disk: `<folder>/<first two digits>/<digest>`, written under `<folder>/incoming`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from scheduler.blobs import drafts
from scheduler.blobs.drafts import DiskDraft
from scheduler.blobs.trouble import told
from scheduler.domain.errors import InvariantBroken
from scheduler.domain.file import Blob
from scheduler.ports.files import Draft

PIECE_BYTES = 1 << 18
DIGEST_BYTES = 32


class DiskBlobs:
    """Implements ports.files.BlobStore. All processes that share the folder share the contents."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"

    async def begin(self) -> DiskDraft:
        """A new draft; see the port."""
        return await asyncio.to_thread(drafts.begin, self._incoming)

    async def place(self, draft: Draft) -> Blob:
        """Put a draft under its digest; see the port."""
        if not isinstance(draft, DiskDraft):
            raise InvariantBroken("this draft was not begun here")
        return await asyncio.to_thread(self._place, draft)

    async def open(self, blob: Blob) -> DiskReading | None:
        """Read a content; see the port."""
        return await asyncio.to_thread(self._open, blob)

    async def reach(self) -> None:
        """Look whether the folder can be written, or made; see the port."""
        await asyncio.to_thread(self._reach)

    async def remove(self, digest: bytes) -> None:
        """Remove a content; see the port."""
        await asyncio.to_thread(self._remove, digest)

    async def sweep(self) -> int:
        """Remove drafts of processes that died; see the port."""
        return await asyncio.to_thread(drafts.sweep, self._incoming)

    def _reach(self) -> None:
        folder = self._folder.absolute()
        nearest = next(each for each in (folder, *folder.parents) if each.exists())
        with told("reaching"):
            if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
                raise PermissionError(f"{nearest} cannot be written")

    def _place(self, draft: DiskDraft) -> Blob:
        blob = draft.seal()
        path = self._path(blob.digest)
        with told("placing"):
            if _size(path) != blob.size_bytes:
                made = not path.parent.is_dir()
                path.parent.mkdir(mode=0o700, exist_ok=True)
                draft.path.replace(path)
                if made:
                    _sync_folder(self._folder)
            # Also when it was there: whoever put it there may not have come to this.
            _sync_folder(path.parent)
        draft.discard()
        return blob

    def _open(self, blob: Blob) -> DiskReading | None:
        with told("opening"):
            try:
                descriptor = os.open(self._path(blob.digest), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        return DiskReading(descriptor, blob.size_bytes)

    def _remove(self, digest: bytes) -> None:
        with told("removing"), contextlib.suppress(FileNotFoundError):
            self._path(digest).unlink()

    def _path(self, digest: bytes) -> Path:
        if len(digest) != DIGEST_BYTES:
            raise InvariantBroken("a digest has 32 bytes")
        name = digest.hex()
        return self._folder / name[:2] / name


class DiskReading:
    """Implements ports.files.Reading."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        """Of the whole content."""
        return self._size_bytes

    async def pieces(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Its bytes in pieces; see the port."""
        at, stop = start, self._size_bytes if end is None else end
        while at < stop:
            with told("reading"):
                piece = await asyncio.to_thread(os.pread, self._descriptor, min(PIECE_BYTES, stop - at), at)
            if not piece:
                raise InvariantBroken("a stored content is shorter than it was")
            at += len(piece)
            yield piece

    def close(self) -> None:
        """Let it go; safe to repeat."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        # An answer whose caller left before its first byte never comes to closing it.
        self.close()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
