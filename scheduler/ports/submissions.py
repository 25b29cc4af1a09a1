"""Submissions as the store keeps them: what is asked for, its check, its results, its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from scheduler.domain.batch import Batch, Endpoint, NewItem
from scheduler.domain.status import ItemStatus
from scheduler.domain.submission import Ending, LineFault, NewSubmission, SourceFormat, Submission, Written
from scheduler.ports.flows import StoredFlow
from scheduler.ports.pages import Page


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something to tell: "batch.completed" and what the event carries, ready to be JSON."""

    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an item, as the files tell it. response: the provider's answer; http_status: of one that is a
    refusal. request_id: the provider's, if it gave one."""

    seq: int
    event_no: int
    custom_id: str | None
    endpoint: Endpoint
    status: ItemStatus
    error_code: str | None
    error_message: str | None
    response: bytes | None
    http_status: int | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class HeldSubmissions:
    """What a holder has to write. due: those that there is something to do for."""

    batch_ids: Set[UUID]
    due: Sequence[Submission]


class Gripped(Protocol):
    """A submission that is being checked by one holder; of one task at a time. Each method raises Conflict
    INVALID_STATE when the lease went to another or the submission was cancelled: stop then, whoever has it goes on."""

    @property
    def submission(self) -> Submission:
        """As it was when it was taken hold of."""
        ...

    @property
    def stored(self) -> int:
        """Items stored so far: the seq of the last one."""
        ...

    async def clear(self) -> None:
        """Delete the items that an earlier check left behind."""
        ...

    async def append(self, items: Sequence[NewItem]) -> None:
        """Store items with the next seqs, unseen. NotFound when a resource is gone (at `become`)."""
        ...

    async def touch(self) -> None:
        """Keep the lease."""
        ...

    async def become(self, model: str | None, event: WebhookEvent) -> tuple[Batch, Sequence[StoredFlow]]:
        """All lines are good: make the batch of what is stored, and tell. NotFound when a resource is gone."""
        ...

    async def refuse(self, faults: Sequence[LineFault], event: WebhookEvent) -> None:
        """The input is bad: the submission FAILED. What was stored must be cleared before."""
        ...

    async def give_up(self, event: WebhookEvent) -> None:
        """It was cancelled before it became a batch: CANCELLED. What was stored must be cleared before."""
        ...

    async def let_go(self) -> None:
        """End the lease: another may take it at once. Raises nothing when it is lost already."""
        ...


class SubmissionStore(Protocol):
    """Submissions."""

    async def create(self, submission: NewSubmission) -> Submission:
        """Store it, to be checked. NotFound ENVIRONMENT_NOT_FOUND."""
        ...

    async def get(self, environment_id: UUID, batch_id: UUID) -> Submission | None:
        """One, whatever face it came by; None if there is none in that environment."""
        ...

    async def page(
        self, environment_id: UUID, source_format: SourceFormat, *, limit: int, after: UUID | None
    ) -> Page[Submission]:
        """Newest first by id; `after` is the last id of the page before."""
        ...

    async def before(
        self, environment_id: UUID, source_format: SourceFormat, *, limit: int, before: UUID
    ) -> tuple[Sequence[Submission], bool]:
        """Those that stand right before the id `before` in the list, newest first, and whether there are more."""
        ...

    async def find(self, batch_ids: Sequence[UUID]) -> Sequence[Submission]:
        """Those that exist, in order, of whatever environment: for the spool."""
        ...

    async def since(self, after: UUID, limit: int) -> Sequence[UUID]:
        """Ids of whatever environment above `after`, in order: for the spool."""
        ...

    async def open(self) -> Sequence[UUID]:
        """Ids of all that have not ended: for the spool, when it begins."""
        ...

    async def stop(self, environment_id: UUID, batch_id: UUID, *, expired: bool) -> bool:
        """Stop it, and its batch; whether that changed anything (see the SQL function)."""
        ...

    async def grip(self, holder: str, lease_s: float) -> Gripped | None:
        """Take the oldest unchecked submission that nobody holds. holder: a name that is used once."""
        ...

    async def hold(self, holder: str, lease_s: float, most: int) -> HeldSubmissions:
        """Those whose results are this holder's to write: the ones it has, renewed, and more up to `most`."""
        ...

    async def let_go(self, holder: str) -> None:
        """End all leases of a holder."""
        ...

    async def results(self, batch_id: UUID, *, after: int, up_to: int, limit: int, most_bytes: int) -> Sequence[Result]:
        """Outcomes in order of their events, after < event ≤ up_to: up to `limit`, and up to so many bytes of answers
        but at least one. None only when there are no more."""
        ...

    async def unended(self, batch_ids: Sequence[UUID]) -> Set[UUID]:
        """Those of them that have not ended."""
        ...

    async def advance(
        self, batch_id: UUID, holder: str, seen: Written, written: Written, events: Sequence[WebhookEvent]
    ) -> bool:
        """Record how far the files are written, with what is to be told of it; False when they were not as `seen` any
        more or the lease is lost: then it changed nothing."""
        ...

    async def start(self, batch_id: UUID, holder: str, event: WebhookEvent) -> bool:
        """Tell once that it runs; False when that was told, or the lease is lost."""
        ...

    async def end(
        self,
        batch_id: UUID,
        holder: str,
        ending: Ending,
        ended_at: datetime,
        output_file_id: UUID | None,
        error_file_id: UUID | None,
        event: WebhookEvent,
    ) -> bool:
        """Its results are published: the end, told. False when it has ended, or the lease is lost."""
        ...
