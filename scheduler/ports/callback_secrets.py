"""Callback secrets that an older version stored in the clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from scheduler.domain.batch import CallbackOptions


@dataclass(frozen=True, slots=True)
class ClearCallback:
    """A batch whose callback holds its secret in the clear."""

    batch_id: UUID
    callback: CallbackOptions


class CallbackSecretStore(Protocol):
    """What the secretkeeper needs of the store."""

    async def in_the_clear(self, limit: int) -> Sequence[ClearCallback]:
        """Batches whose callback is to be sealed."""
        ...

    async def replace(self, batch_id: UUID, callback: CallbackOptions) -> None:
        """Store the sealed form in its place."""
        ...
