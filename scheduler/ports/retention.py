"""Forgetting what ended long ago."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Forgotten:
    """batches: that are gone. dropped: partitions that are. held: partitions of that age that stay, because something
    of their week has not ended, or because readers were in the way."""

    batches: int = 0
    dropped: int = 0
    held: int = 0


class RetentionStore(Protocol):
    """What is kept of the past."""

    async def forget(self, before: datetime) -> Forgotten:
        """Forget the batches created before a time that ended, in small steps, then drop the weeks that are empty.

        A batch that has not ended is never touched, nor one with a callback or results still to go out. May be cut off
        anywhere and repeated: what is left is found the next time.
        """
        ...
