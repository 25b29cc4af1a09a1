"""Files of results while they grow: appended to, never changed, and cut back to what is on record.

What a part holds follows from the record alone, so a part that is missing, or is not what the record says (another
machine wrote it, a disk lost it), is written anew from its beginning. Two writers at once, one of which does not know
yet that it lost its lease, write the same bytes to the same places. All of it blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from scheduler.domain.errors import Unavailable
from scheduler.domain.submission import PartFile

_PIECE_BYTES = 1 << 20


class Part:
    """One part on disk. path: its folder is made if need be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def begin(self, recorded: PartFile) -> bool:
        """Open it and cut it back to what is recorded. False when it does not hold that: write it anew, after
        `begin(PartFile())`, which always succeeds. Raises Unavailable when the disk refuses."""
        self.close()
        with _told():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self._descriptor).st_size < recorded.size_bytes or self._crc(recorded) != recorded.crc:
                self.close()
                return False
            os.ftruncate(self._descriptor, recorded.size_bytes)
        return True

    def append(self, at: PartFile, lines: list[bytes]) -> PartFile:
        """Write lines behind `at`, durably; what it is then. Raises Unavailable when the disk is full."""
        if not lines:
            return at
        text = b"".join(lines)
        with _told():
            view, position = memoryview(text), at.size_bytes
            while view:
                written = os.pwrite(self._descriptor, view, position)
                view, position = view[written:], position + written
            os.fdatasync(self._descriptor)
        return PartFile(at.size_bytes + len(text), at.lines + len(lines), zlib.crc32(text, at.crc))

    def pieces(self, recorded: PartFile) -> Iterator[bytes]:
        """What is recorded of it, in pieces. Raises Unavailable when it holds less."""
        at = 0
        while at < recorded.size_bytes:
            with _told():
                piece = os.pread(self._descriptor, min(_PIECE_BYTES, recorded.size_bytes - at), at)
            if not piece:
                raise Unavailable("A file of results became shorter.", retry_after_s=5)
            at += len(piece)
            yield piece

    def close(self) -> None:
        """Let go of it; safe to repeat."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Close and delete it; safe to repeat."""
        self.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _crc(self, recorded: PartFile) -> int:
        crc, at = 0, 0
        while at < recorded.size_bytes:
            piece = os.pread(self._descriptor, min(_PIECE_BYTES, recorded.size_bytes - at), at)
            if not piece:
                return -1
            crc, at = zlib.crc32(piece, crc), at + len(piece)
        return crc


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Never its path: it would show in answers.
        raise Unavailable(f"The folder of result files cannot be used ({error.strerror}).", retry_after_s=5) from error
