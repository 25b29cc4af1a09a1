"""Items of batches, read in bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from scheduler.domain.batch import Endpoint, Item
from scheduler.domain.output_length import OutputGuess
from scheduler.domain.status import BatchStatus
from scheduler.domain.work import Entry


@dataclass(frozen=True, slots=True)
class LoadedItem:
    """What a dispatcher needs of a claimed entry. finished: this run has an outcome already, or the run is not the
    current one: settle without a call. batch_status CANCELLED: do not send. out_tokens: the reserve for its answer that
    it was accepted with. max_retries: the batch's, in place of the resource's. guess: that reserve is one."""

    batch_id: UUID
    seq: int
    run: int
    current_run: int
    finished: bool
    batch_status: BatchStatus
    deadline: datetime | None
    wants_item_callbacks: bool
    resource_id: UUID
    endpoint: Endpoint
    request: bytes
    out_tokens: int
    max_retries: int | None = None
    guess: OutputGuess | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Answer of a load. epoch: of the shard, leases of an older one are dropped unsent. database_now: Postgres' clock
    when the statement ran."""

    epoch: int
    database_now: datetime
    items: dict[tuple[UUID, int], LoadedItem]


class ItemStore(Protocol):
    """Items and their outcomes, read in bulk."""

    async def item(self, environment_id: UUID, batch_id: UUID, seq: int) -> Item | None:
        """One with the outcome of its current run; None if it does not exist in that environment."""
        ...

    async def page(self, batch_id: UUID, *, after_seq: int, limit: int) -> Sequence[Item]:
        """Items with seq > after_seq in order."""
        ...

    async def items(self, batch_id: UUID, seqs: Sequence[int]) -> Sequence[Item]:
        """Those of a batch, in order of seq; what does not exist is left out."""
        ...

    async def retried_runs(self, batch_id: UUID, seqs: Sequence[int]) -> Mapping[int, int]:
        """The current run of those that were retried; the others are in their run 1."""
        ...

    async def load(self, shard: int, claimed: Sequence[tuple[UUID, int, int]]) -> Loaded:
        """One query for many claimed (batch, seq, run) of many batches."""
        ...

    async def note_crashes(self, suspects: Sequence[tuple[UUID, int, int, int]]) -> None:
        """So many holders died with (batch, seq, run), in one statement: `window` brings it back after a loss of Redis.
        Never lowers what is known. Raises InvariantBroken for a batch that is gone."""
        ...

    async def window(
        self, batch_id: UUID, resource_id: UUID, *, after_seq: int, limit: int, known_tokens: int | None = None
    ) -> tuple[int, list[Entry]]:
        """The next entries of a flow without an outcome for their current run, and the cursor up to which nothing was
        left out. Bounded work: it looks at no more than a bounded range of seqs per call, so it may answer an empty
        list with a cursor that moved on. Outputs that were guessed at creation are guessed again by what is likely for
        the batch by now, else for the resource; a guess that rises stays within what the present limits can admit.
        known_tokens: what the caller has seen of the batch's answers, for when nobody told the store yet."""
        ...

    async def lowest_unfinished(self, batch_id: UUID, resource_id: UUID) -> int | None:
        """Lowest seq of a flow without an outcome for its current run."""
        ...

    async def unfinished(self, batch_id: UUID, *, after_seq: int, limit: int) -> Sequence[tuple[int, int, UUID]]:
        """(seq, current run, resource) of items without an outcome, in order of seq: for the canceller."""
        ...
