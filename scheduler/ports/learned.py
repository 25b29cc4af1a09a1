"""What workers learn from answers, for the estimates of later requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from scheduler.domain.work import Limit


@dataclass(frozen=True, slots=True)
class LearnedOutput:
    """How long the answers of a resource are, or of one batch on it, as one worker saw it. seen: answers since its last
    word."""

    resource_id: UUID
    quantile_tokens: int
    seen: int
    batch_id: UUID | None = None


class LearnedOutputStore(Protocol):
    """Keeps one figure a resource (`Resource.likely_output_tokens` is read from it) and one a batch on a resource, for
    as long as these exist. `ItemStore.window` reserves by them."""

    async def learn_outputs(self, learned: Sequence[LearnedOutput]) -> None:
        """Blend these figures into those that are stored, weighed by how much each has seen. Resources and
        batches that do not exist (any more) are left out."""
        ...


@dataclass(frozen=True, slots=True)
class LearnedModel:
    """What a provider's answers told of one model on a connection: its limits (without their pace), and the calls at
    once that are worth it (None: it has limits)."""

    connection_id: UUID
    model: str
    limits: tuple[Limit, ...]
    places: int | None


class LearnedLimitStore(Protocol):
    """Keeps the last word on each model of a connection, for people and for the loss of Redis."""

    async def learn_limits(self, learned: Sequence[LearnedModel]) -> None:
        """Replace what is stored of these. Connections that do not exist (any more) are left out."""
        ...

    async def learned_limits(self, connection_ids: Sequence[UUID]) -> Sequence[LearnedModel]:
        """What is known of the models of these connections, by connection and model."""
        ...
