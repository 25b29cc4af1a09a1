"""Cutting a byte stream into lines, wherever its chunks were cut."""

from __future__ import annotations


class LineSplitter:
    """Push chunks in, get whole lines out, without their line feeds. Only a line feed ends a line."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []

    def push(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, in order."""
        first, *others = chunk.split(b"\n")
        self._pending.append(first)
        if not others:
            return []
        lines = [b"".join(self._pending), *others[:-1]]
        self._pending = [others[-1]]
        return lines

    def rest(self) -> bytes:
        """What follows the last line feed; empty when the stream ended with one."""
        return b"".join(self._pending)
