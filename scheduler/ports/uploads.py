"""Batches that come line by line, as the store keeps them while they come.

An upload is held (its batch is made when all of it is here; until then nobody sees it) or early (its batch exists from
the first item on, unsealed, and runs). One that is given up is torn: it takes no more items, and the sealer seals it
as it is (early) or sweeps it away (held).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from scheduler.domain.batch import Batch, NewBatch, NewItem
from scheduler.domain.outcome import ItemOutcome
from scheduler.domain.status import BatchStatus
from scheduler.ports.flows import StoredFlow


@dataclass(frozen=True, slots=True)
class Earlier:
    """The batch that an Idempotency-Key stands for already, and the hash of the body that made it."""

    batch_id: UUID
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """What an early batch is after some items more. flows: those that grew."""

    flows: tuple[StoredFlow, ...]
    status: BatchStatus
    last_event: int


@dataclass(frozen=True, slots=True)
class TornUpload:
    """An upload that was given up. stored: its items have the seqs 1 … stored."""

    batch_id: UUID
    early: bool
    stored: int


class Upload(Protocol):
    """One upload that is under way; of one task at a time."""

    @property
    def stored(self) -> int:
        """Items written so far: the seq of the last one."""
        ...

    async def append(self, items: Sequence[NewItem], failures: Sequence[ItemOutcome] = ()) -> Appended | None:
        """Write items with the next seqs in one transaction; failures (early only): outcomes of those among them that
        cannot run, recorded before anybody can claim them. None for a held upload. Conflict INVALID_STATE when
        it was given up meanwhile; NotFound when a resource is gone."""
        ...

    async def touch(self) -> None:
        """A sign of life."""
        ...

    async def finish(
        self, environment_id: UUID, key: str | None, body_hash: bytes
    ) -> tuple[Batch, Sequence[StoredFlow]]:
        """All items are here: make the batch, or seal it; name the body of its Idempotency-Key. Raises as append."""
        ...

    async def tear(self) -> None:
        """Give it up: the sealer does the rest."""
        ...


class UploadStore(Protocol):
    """Uploads."""

    async def reserve_idempotency(self, environment_id: UUID, key: str, batch_id: UUID) -> Earlier | None:
        """Claim a key for a body that is still to come; who holds it already otherwise. Conflict IN_PROGRESS while
        that one is being created."""
        ...

    async def open(self, batch: NewBatch, *, early: bool) -> Upload:
        """Begin. early: the batch exists from now on, without items. Raises NotFound ENVIRONMENT_NOT_FOUND."""
        ...

    async def torn(self, silent_s: float) -> Sequence[TornUpload]:
        """Uploads that were given up, and those that were silent for so long, which are given up now."""
        ...

    async def seal(self, batch_id: UUID, error: str | None) -> Batch | None:
        """Seal an early batch as it is, and forget its upload; it ends if all of it is finished."""
        ...

    async def sweep(self, batch_id: UUID, *, after_seq: int, up_to_seq: int) -> None:
        """Delete items of a held upload (after_seq < seq ≤ up_to_seq)."""
        ...

    async def forget(self, batch_id: UUID) -> None:
        """The upload is swept away."""
        ...
