"""Handing a part of a batch over to its provider's own Batch API (execution mode native)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class HandoverState(StrEnum):
    """PLANNED → UPLOADED (its lines lie at the provider) → HANDED (the provider's batch is known) → DONE (every item of
    it has its outcome, or the batch was stopped). The hander moves it on; each step is recorded before the next."""

    PLANNED = "planned"
    UPLOADED = "uploaded"
    HANDED = "handed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Handover:
    """The items of one batch on one resource, on their way through a provider.

    file_ref, batch_ref: the provider's ids. asked_at: when its batch was (last) asked for; without batch_ref nobody
    knows whether it came to be, and the mark tells it there. tries: failed looks in a row.
    """

    batch_id: UUID
    resource_id: UUID
    environment_id: UUID
    state: HandoverState
    file_ref: str | None
    batch_ref: str | None
    asked_at: datetime | None
    tries: int

    @property
    def mark(self) -> str:
        """What the provider's batch carries in its metadata: at most one batch there ever counts for this part."""
        return f"{self.batch_id.hex}-{self.resource_id.hex}"
