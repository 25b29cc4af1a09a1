"""Which request bodies came more than once."""

from typing import Final

CAPACITY: Final = 1_000_000


class Repeats:
    """Counts arrivals by the first 16 bytes of their body's SHA-256, about 130 bytes of memory each.

    Bodies beyond the first million distinct ones are not remembered; `is_full` tells.
    """

    __slots__ = ("_capacity", "_seen", "after_answer", "bodies", "repeats")

    # The value of a body: bit 0 = it was answered 200, bit 1 = it came more than once.
    def __init__(self, capacity: int = CAPACITY) -> None:
        self._seen: dict[bytes, int] = {}
        self._capacity = capacity
        self.bodies = 0
        """Bodies that came more than once."""
        self.repeats = 0
        """Arrivals beyond the first of each body."""
        self.after_answer = 0
        """Those of the repeats whose body had been answered 200 before: paid for twice."""

    @property
    def is_full(self) -> bool:
        """As many bodies are known as are remembered: those that come new are not counted."""
        return len(self._seen) >= self._capacity

    def arrival(self, digest: bytes) -> None:
        """A body of this digest came."""
        state = self._seen.get(digest)
        if state is None:
            if len(self._seen) < self._capacity:
                self._seen[digest] = 0
            return
        self.repeats += 1
        self.after_answer += state & 1
        if not state & 2:
            self.bodies += 1
            self._seen[digest] = state | 2

    def answered(self, digest: bytes) -> None:
        """The body was answered 200."""
        state = self._seen.get(digest)
        if state is not None:
            self._seen[digest] = state | 1
