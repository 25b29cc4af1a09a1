"""Which bytes a caller wants: the header Range of RFC 9110, one range at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes from `start` up to (not including) `end`, in a whole of `size_bytes`; empty: nothing of what was asked
    for is there."""

    start: int
    end: int
    size_bytes: int

    @property
    def content_range(self) -> str:
        """The header Content-Range."""
        where = f"{self.start}-{self.end - 1}" if self.start < self.end else "*"
        return f"bytes {where}/{self.size_bytes}"


def part_of(header: str | None, size_bytes: int) -> Part | None:
    """The part that a Range header asks for. None: all of it, also for several ranges and for what is no range, which
    the RFC lets a server answer whole."""
    matched = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if matched is None or not (matched[1] or matched[2]):
        return None
    if not matched[1]:
        start, end = max(0, size_bytes - int(matched[2])), size_bytes
    else:
        start, end = int(matched[1]), min(size_bytes, int(matched[2]) + 1) if matched[2] else size_bytes
        if matched[2] and int(matched[2]) < start:
            return None
    return Part(start, end, size_bytes) if start < end else Part(0, 0, size_bytes)
