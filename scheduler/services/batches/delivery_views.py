"""How a callback is shown: never with its headers, secret or body."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

from scheduler.domain.ids import ItemIds
from scheduler.ports.deliveries import DeliveryRecord


class DeliveryView(Struct, rename="camel", frozen=True):
    """A callback. event: ITEM_UPDATE, BATCH_UPDATE, or that of a webhook (batch.completed …). last_status: of the last
    try that was answered; last_error: why the last try did not succeed."""

    delivery_id: UUID
    event: str
    item_id: UUID | None
    event_number: int | None
    state: Literal["WAITING", "DELIVERED", "DEAD"]
    attempts: int
    last_status: int | None
    last_error: str | None
    created_at: datetime
    next_try_at: datetime | None
    finished_at: datetime | None


_STATES: dict[str, Literal["WAITING", "DELIVERED", "DEAD"]] = {
    "waiting": "WAITING",
    "delivered": "DELIVERED",
    "dead": "DEAD",
}


def delivery_view(batch_id: UUID, record: DeliveryRecord) -> DeliveryView:
    """A record of the outbox as its owner sees it."""
    return DeliveryView(
        delivery_id=record.delivery_id,
        event=record.event or ("BATCH_UPDATE" if record.kind == "batch" else "ITEM_UPDATE"),
        item_id=None if record.seq is None else ItemIds(batch_id).of(record.seq),
        event_number=record.event_no,
        state=_STATES[record.state],
        attempts=record.attempts,
        last_status=record.last_status,
        last_error=record.last_error,
        created_at=record.created_at,
        next_try_at=record.next_try_at,
        finished_at=record.finished_at,
    )
