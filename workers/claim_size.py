"""How many entries a claim asks for: no more than this process can send in time."""

from __future__ import annotations

SMALLEST = 4
GROWTH = 8


class ClaimSize:
    """A claim whose calls were late halves the size of the next ones; each full one in time adds GROWTH, up to
    `largest`."""

    def __init__(self, largest: int) -> None:
        self.entries = largest
        self._largest = largest
        self._late = False

    def was_late(self) -> None:
        """A claimed call could not leave in time: claim less."""
        self._late = True

    def adapt(self, *, full: bool) -> None:
        """After a claim that brought entries. full: as many as it asked for."""
        if self._late:
            self._late = False
            self.entries = max(SMALLEST, self.entries // 2)
        elif full:
            self.entries = min(self._largest, self.entries + GROWTH)
