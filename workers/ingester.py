"""The ingester: submissions that nobody has checked yet become batches, or are refused."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from scheduler.ports.submissions import SubmissionStore
from scheduler.services.submissions.ingestion import Ingestion

IDLE_S = 0.5
"""Between two looks when there was nothing to do: what a small submission waits before it is looked at."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: submissions that were taken (0 or 1), and lines that were looked at."""

    taken: int = 0
    lines: int = 0


class Ingester:
    """Takes one submission at a time; any number of them may run, in any process.

    lease_s: far longer than a chunk takes to be read, checked and stored; so much later a dead ingester's work is begun
    anew.
    """

    def __init__(self, store: SubmissionStore, ingestion: Ingestion, holder: str, lease_s: float) -> None:
        self._store = store
        self._ingestion = ingestion
        self._holder = holder
        self._lease_s = lease_s
        self._idle = False

    def pause_s(self) -> float:
        """Until the next turn."""
        return IDLE_S if self._idle else 0.0

    async def run_once(self) -> Turn:
        """Take one, and bring it on its way."""
        self._idle = True
        # A name of its own each time: what a lost lease's turn still writes must not pass for the next one's.
        grip = await self._store.grip(f"{self._holder}/{secrets.token_hex(6)}", self._lease_s)
        if grip is None:
            return Turn()
        ingested = await self._ingestion.ingest(grip)
        self._idle = False
        return Turn(1, ingested.lines)
