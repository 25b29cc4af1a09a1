"""From the bytes of an upload to its lines: unpacked, hashed and cut in steps of bounded size."""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from dataclasses import dataclass

from scheduler.domain.errors import Invalid, Malformed, TooLarge

STEP_BYTES = 256 * 1024
"""So much is unpacked and cut at once: a few ms of work, and a bound of the memory whatever was packed."""
_MOST_TIMES = 250
"""No honest text packs better than this; what does is a bomb."""
_JUDGED_BYTES = 64 << 20
"""Before this much was unpacked, nobody is called a bomb."""
_GZIP = 31


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank. number: from 1, blank ones counted. text: None when it was too long."""

    number: int
    text: bytes | None


class UploadLines:
    """Takes pieces of a body, gives its lines. encoding: of the Content-Encoding header: "", "identity" or "gzip".

    Raises Invalid for another encoding. Not thread-safe, but may be used in any thread.
    """

    def __init__(self, encoding: str, most_line_bytes: int) -> None:
        if encoding.strip().lower() not in ("", "identity", "gzip", "x-gzip"):
            raise Invalid("Content-Encoding must be gzip or identity.")
        self._packed = "gzip" in encoding.lower()
        self._unpacker = zlib.decompressobj(_GZIP)
        self._most_line_bytes = most_line_bytes
        self._waiting: deque[bytes] = deque()
        self._begun = bytearray()
        self._too_long = False
        self._number = 0
        self._hash = hashlib.sha256()
        self._in_bytes = self._out_bytes = 0
        self._member = False

    def feed(self, piece: bytes) -> None:
        """The next piece of the body."""
        self._in_bytes += len(piece)
        if self._packed:
            if piece:
                self._waiting.append(piece)
            return
        view = memoryview(piece)
        self._waiting.extend(bytes(view[start : start + STEP_BYTES]) for start in range(0, len(piece), STEP_BYTES))

    def step(self) -> list[Line] | None:
        """Some lines of what was fed, maybe none; None when all of it was looked at. Raises Malformed for what is no
        gzip, TooLarge for a bomb."""
        if not self._waiting:
            return None
        piece = self._waiting.popleft()
        return self._cut(self._unpack(piece) if self._packed else piece)

    def end(self) -> list[Line]:
        """What is left when the body is complete. Raises Malformed when the gzip stream is not."""
        if self._packed and (self._member or not self._in_bytes):
            raise Malformed("The gzip stream is cut short.")
        return self._cut(b"\n") if self._begun or self._too_long else []

    @property
    def digest(self) -> bytes:
        """SHA-256 of the unpacked body so far."""
        return self._hash.digest()

    def _unpack(self, piece: bytes) -> bytes:
        try:
            unpacked = self._unpacker.decompress(piece, STEP_BYTES)
        except zlib.error:
            raise Malformed("The body is not valid gzip.") from None
        self._member = not self._unpacker.eof
        if self._unpacker.eof:
            rest = self._unpacker.unused_data
            self._unpacker = zlib.decompressobj(_GZIP)
            if rest.strip(b"\0"):
                self._waiting.appendleft(rest)
        elif self._unpacker.unconsumed_tail or len(unpacked) == STEP_BYTES:
            self._waiting.appendleft(self._unpacker.unconsumed_tail)
        self._out_bytes += len(unpacked)
        if self._out_bytes > max(_JUDGED_BYTES, self._in_bytes * _MOST_TIMES):
            raise TooLarge("The body unpacks to far more than an honest text would.")
        return unpacked

    def _cut(self, text: bytes) -> list[Line]:
        self._hash.update(text)
        first, *others = text.split(b"\n")
        lines: list[Line] = []
        self._continue(first)
        for other in others:
            self._number += 1
            if self._too_long:
                lines.append(Line(self._number, None))
            elif line := bytes(self._begun).strip():
                lines.append(Line(self._number, line))
            self._begun.clear()
            self._too_long = False
            self._continue(other)
        return lines

    def _continue(self, part: bytes) -> None:
        if self._too_long:
            return
        self._begun += part
        if len(self._begun) > self._most_line_bytes:
            self._too_long = True
            self._begun.clear()
