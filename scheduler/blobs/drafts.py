"""Drafts: contents being written to temporary files of one folder.

A draft holds a lock on its file for as long as its process lives. So a file without a lock was left by a process that
died, and may be removed at once, whoever notices and however young it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from scheduler.blobs.trouble import told
from scheduler.domain.file import Blob


class DiskDraft:
    """Implements ports.files.Draft."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Use `begin`."""
        self.path = path
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        self._size_bytes = 0
        self._sealed: Blob | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._size_bytes

    def write(self, piece: bytes | memoryview) -> None:
        """Append; see the port."""
        view = memoryview(piece)
        self._hash.update(view)
        self._size_bytes += len(view)
        with told("writing"):
            while view:
                view = view[os.write(self._descriptor, view) :]

    def seal(self) -> Blob:
        """Make what was written durable; see the port."""
        if self._sealed is None:
            with told("sealing"):
                os.fsync(self._descriptor)
            self._sealed = Blob(self._hash.digest(), self._size_bytes)
        return self._sealed

    def discard(self) -> None:
        """Remove the temporary file, if it still has that name; see the port."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1


def begin(folder: Path) -> DiskDraft:
    """A new draft in `folder`, which is made if need be."""
    with told("beginning"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = folder / secrets.token_hex(16)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # A sweeper may have taken it for a dead one's between the two calls: then it holds the lock or removed it.
            if _locked(descriptor) and os.fstat(descriptor).st_nlink:
                return DiskDraft(path, descriptor)
            os.close(descriptor)


def sweep(folder: Path) -> int:
    """Remove the drafts of processes that died; how many."""
    with told("sweeping"):
        return sum(map(_swept, _entries(folder)))


def _entries(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False))


def _swept(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        if not _locked(descriptor):
            return False
        # Placed meanwhile: then the name is gone already, and what it named is kept under its digest.
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            return True
        return False
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
