"""What workers learn from answers, for the estimates of later requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class LearnedOutput:
    """How long the answers of a resource are, as one worker saw it. seen: answers since its last word."""

    resource_id: UUID
    quantile_tokens: int
    seen: int


class LearnedStore(Protocol):
    """Keeps one figure a resource: `Resource.likely_output_tokens` is read from it."""

    async def learn_outputs(self, learned: Sequence[LearnedOutput]) -> None:
        """Blend these figures into those that are stored, weighed by how much each has seen. Resources that do not
        exist (any more) are left out."""
        ...
