"""The outbox of callbacks as its users see it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from scheduler.domain.batch import Batch, CallbackOptions, Item
from scheduler.domain.submission import WebhookTarget
from scheduler.ports.pages import Page


@dataclass(frozen=True, slots=True)
class Webhook:
    """An event of a submission, to be sent in the format of its target. data: JSON of what it carries."""

    target: WebhookTarget
    data: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """One callback or webhook to send. payload: the event that it carries (item or batch as of then, or a running item,
    or an event of a submission).

    callback: None for a webhook. attempts: tries made before this one. event_name: "ITEM_UPDATE" | "BATCH_UPDATE", or
    that of a webhook. tried_since: where the 24 h of tries begin: its making, or its last replay.
    """

    delivery_id: UUID
    batch_id: UUID
    callback: CallbackOptions | None
    event_name: str
    payload: Batch | Item | Webhook
    attempts: int
    created_at: datetime
    tried_since: datetime

    @property
    def url(self) -> str:
        """Where it goes."""
        if isinstance(self.payload, Webhook):
            return self.payload.target.url
        return self.callback.url if self.callback else ""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of one try. Exactly one of delivered, retry_at, dead_reason is set. problem: what went wrong with a
    try that is to be repeated, for readers."""

    delivery_id: UUID
    delivered: bool
    retry_at: datetime | None
    dead_reason: str | None
    status: int | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A callback as its owner sees it. kind: "running" | "item" | "batch" | "webhook". state: "waiting" | "delivered" |
    "dead".

    seq and run: of the item, event_no: of the event, where there is one. next_try_at: while it waits.
    last_status: of the last try that was answered. last_error: why the last try did not succeed. event: of a webhook.
    """

    delivery_id: UUID
    kind: str
    state: str
    seq: int | None
    run: int | None
    event_no: int | None
    attempts: int
    created_at: datetime
    next_try_at: datetime | None
    finished_at: datetime | None
    last_status: int | None
    last_error: str | None
    event: str | None = None


class DeliveryStore(Protocol):
    """The outbox of callbacks."""

    async def add_running(self, items: Sequence[tuple[UUID, int, int]], now: datetime) -> None:
        """item_update "running" deliveries for (batch, seq, run), for batches that ask for them, in one statement. Told
        again, a run keeps the delivery that it has: receivers know a repetition by its id."""
        ...

    async def claim(
        self,
        holder: str,
        limit: int,
        lease_s: float,
        *,
        per_receiver: int | None = None,
        one_for: Collection[str] = (),
        except_receivers: Sequence[str] = (),
    ) -> Sequence[Delivery]:
        """Due deliveries, leased (SKIP LOCKED); fair over receivers: not all of one host first.

        per_receiver: at most so many for one. one_for, except_receivers: "host:port" (lower case, port always given) of
        those that get one at most, and none.
        A lease that is not recorded within lease_s is due again by itself.
        """
        ...

    async def renew(self, holder: str, deliveries: Sequence[tuple[UUID, UUID]], lease_s: float) -> frozenset[UUID]:
        """Prolong the leases of (batch, delivery) in one statement: those that the holder has and nobody works on just
        now. Answers which."""
        ...

    async def next_due_s(self) -> float | None:
        """Seconds until the next delivery is due (0: now); None when none waits."""
        ...

    async def record(self, holder: str, results: Sequence[DeliveryResult]) -> None:
        """Only for deliveries whose lease the holder still has."""
        ...

    async def list(
        self, batch_id: UUID, *, after: UUID | None, limit: int, state: str | None = None
    ) -> Page[DeliveryRecord]:
        """Deliveries of a batch, oldest first; of one state, or all."""
        ...

    async def replay(self, batch_id: UUID, delivery_id: UUID) -> DeliveryRecord | None:
        """Due now, whether delivered, dead or waiting; attempts count on, and 24 h of tries begin anew. One that is on
        its way is left alone. None if there is no such delivery."""
        ...

    async def replay_dead(self, batch_id: UUID, limit: int) -> int:
        """The dead ones of a batch are due now, up to `limit`, the oldest first; answers how many."""
        ...
