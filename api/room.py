"""The memory for bodies that are read whole: however many come at once, a process holds what it has room for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from scheduler.domain.errors import Unavailable

FREE_BYTES: Final = 65_536
"""Of each body: what is small is never refused for what is large."""
_AGAIN_S: Final = 2.0


class Share:
    """What one request holds of the room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0
        self._held = 0
        self._full = False

    def take(self, size: int) -> bool:
        """Room for so many bytes more. False when there is none: from then on nothing is held."""
        self._size += size
        more = max(0, self._size - FREE_BYTES) - self._held
        if self._full or not self._room.has(more, beside=self._held):
            self.give_back()
            self._full = True
            return False
        self._held += more
        self._room.held += more
        return True

    def require(self) -> None:
        """Raise Unavailable TOO_MUCH_WAITING when there was no room."""
        if self._full:
            raise Unavailable(
                "Too many large bodies are waiting here at the moment.", retry_after_s=_AGAIN_S, code="TOO_MUCH_WAITING"
            )

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._room.held -= self._held
        self._held = 0


class Room:
    """most_bytes: of all bodies together, beyond 64 KiB of each; one that is alone may be larger. held: by now."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.held = 0

    def has(self, more: int, *, beside: int) -> bool:
        """Whether one that holds `beside` may hold so many bytes more."""
        return self.held + more <= self._most_bytes or self.held == beside

    @contextmanager
    def share(self) -> Iterator[Share]:
        """A share for as long as the block lasts: reading the body, and what is made of it."""
        share = Share(self)
        try:
            yield share
        finally:
            share.give_back()
