"""What the server tells: batches, items, events. Unknown fields stay in `raw`; absent ones are None or 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from .wire import Wire, count, count_or_none, elements, number, object_of, object_or_none, text, time

FINAL_STATUSES: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it was when the server answered.

    `status` is PENDING, RUNNING, COMPLETED, FAILED (all items ended, at least one failed) or CANCELLED.
    pending + running + completed + failed + cancelled = total_items. Times are UTC.
    """

    batch_id: str
    type: str
    status: str
    paused: bool
    pending: int
    running: int
    completed: int
    failed: int
    cancelled: int
    total_items: int
    completed_percentage: float
    total_estimated_prompt_tokens: int
    total_prompt_tokens: int
    total_output_tokens: int
    priority: str | None
    metadata: Wire | None
    capacity: tuple[Wire, ...]
    max_in_flight: int | None
    error_message: str | None
    deadline: datetime | None
    estimated_completion_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    completed_at: datetime | None
    items: tuple[Item, ...] | None
    next_items_after: str | None
    raw: Wire = field(repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """True once the batch is COMPLETED, FAILED or CANCELLED."""
        return self.status in FINAL_STATUSES

    @property
    def finished(self) -> int:
        """Items that have ended, in whatever way."""
        return self.completed + self.failed + self.cancelled

    @property
    def warning(self) -> str | None:
        """Why the batch will not be done in time, or cannot go on, as the server saw it; None: nothing to warn of."""
        feasibility = self.raw.get("feasibility")
        return text(feasibility.get("warning")) if isinstance(feasibility, Mapping) else None

    @classmethod
    def from_wire(cls, raw: Any) -> Batch:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no batch."""
        wire = object_of(raw, "batch", "batchId", "status")
        items = wire.get("items")
        after = wire.get("nextItemsAfter")
        return cls(
            batch_id=str(wire["batchId"]),
            type=text(wire.get("type")) or "",
            status=str(wire["status"]),
            paused=wire.get("paused") is True,
            pending=count(wire.get("pending")),
            running=count(wire.get("running")),
            completed=count(wire.get("completed")),
            failed=count(wire.get("failed")),
            cancelled=count(wire.get("cancelled")),
            total_items=count(wire.get("totalItems")),
            completed_percentage=number(wire.get("completedPercentage")),
            total_estimated_prompt_tokens=count(wire.get("totalEstimatedPromptTokens")),
            total_prompt_tokens=count(wire.get("totalPromptTokens")),
            total_output_tokens=count(wire.get("totalOutputTokens")),
            priority=text(wire.get("priority")),
            metadata=object_or_none(wire.get("metadata")),
            capacity=tuple(elements(wire.get("capacity"))),
            max_in_flight=count_or_none(wire.get("maxInFlight")),
            error_message=text(wire.get("errorMessage")),
            deadline=time(wire.get("deadline")),
            estimated_completion_at=time(wire.get("estimatedCompletionAt")),
            created_at=time(wire.get("createdAt")),
            updated_at=time(wire.get("updatedAt")),
            completed_at=time(wire.get("completedAt")),
            items=None if items is None else tuple(Item.from_wire(item) for item in elements(items)),
            next_items_after=None if after is None else str(after),
            raw=wire,
        )


@dataclass(frozen=True, slots=True)
class Item:
    """One request of a batch. COMPLETED it has a `response`, FAILED an `error_message` and `error_code`."""

    item_id: str
    batch_id: str | None
    custom_id: str | None
    resource_id: str | None
    status: str
    request: Wire | None
    response: Wire | None
    error_message: str | None
    error_code: str | None
    retry_count: int
    estimated_prompt_tokens: int | None
    prompt_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    created_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    metadata: Wire | None
    raw: Wire = field(repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """True once the item is COMPLETED, FAILED or CANCELLED."""
        return self.status in FINAL_STATUSES

    @property
    def data(self) -> Any:
        """The provider's answer body, None while there is none."""
        return None if self.response is None else self.response.get("data")

    @classmethod
    def from_wire(cls, raw: Any) -> Item:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no item."""
        wire = object_of(raw, "item", "itemId", "status")
        return cls(
            item_id=str(wire["itemId"]),
            batch_id=text(wire.get("batchId")),
            custom_id=text(wire.get("customId")),
            resource_id=text(wire.get("resourceId")),
            status=str(wire["status"]),
            request=object_or_none(wire.get("request")),
            response=object_or_none(wire.get("response")),
            error_message=text(wire.get("errorMessage")),
            error_code=text(wire.get("errorCode")),
            retry_count=count(wire.get("retryCount")),
            estimated_prompt_tokens=count_or_none(wire.get("estimatedPromptTokens")),
            prompt_tokens=count_or_none(wire.get("promptTokens")),
            output_tokens=count_or_none(wire.get("outputTokens")),
            total_tokens=count_or_none(wire.get("totalTokens")),
            created_at=time(wire.get("createdAt")),
            started_at=time(wire.get("startedAt")),
            completed_at=time(wire.get("completedAt")),
            metadata=object_or_none(wire.get("metadata")),
            raw=wire,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One step in a batch's history.

    `id` is its number, which `stream(last_event_id=…)` takes; `item-running` is live only and has none.
    `payload` is the item or batch as it was at that event; the raw object for an action not known here.
    """

    id: int | None
    action: str
    payload: Batch | Item | Wire
    raw: Wire = field(repr=False, compare=False)

    @property
    def batch(self) -> Batch | None:
        """The payload if it is a batch."""
        return self.payload if isinstance(self.payload, Batch) else None

    @property
    def item(self) -> Item | None:
        """The payload if it is an item."""
        return self.payload if isinstance(self.payload, Item) else None

    @classmethod
    def from_wire(cls, event_id: int | None, raw: Any) -> Event:
        """Read one frame's JSON. Raises UnexpectedAnswer when it is no event."""
        wire = object_of(raw, "event", "action", "payload")
        action, payload = str(wire["action"]), wire["payload"]
        read: Batch | Item | Wire
        if action.startswith("batch-"):
            read = Batch.from_wire(payload)
        elif action.startswith("item-"):
            read = Item.from_wire(payload)
        else:
            read = object_of(payload, "event payload")
        return cls(id=event_id, action=action, payload=read, raw=wire)


@dataclass(frozen=True, slots=True)
class Headroom:
    """What a resource or connection could admit now: the server's whole answer is in `raw`."""

    raw: Wire


@dataclass(frozen=True, slots=True)
class Delivery:
    """A callback of a batch. `state` is WAITING, DELIVERED or DEAD; `last_error` says why the last try failed."""

    delivery_id: str
    event: str
    item_id: str | None
    state: str
    attempts: int
    last_status: int | None
    last_error: str | None
    next_try_at: datetime | None
    raw: Wire = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Any) -> Delivery:
        """Read a delivery as the server writes it."""
        found = object_of(raw, "delivery", "deliveryId", "state")
        return cls(
            delivery_id=str(found["deliveryId"]),
            event=str(found.get("event", "")),
            item_id=found.get("itemId"),
            state=str(found["state"]),
            attempts=int(found.get("attempts") or 0),
            last_status=found.get("lastStatus"),
            last_error=found.get("lastError"),
            next_try_at=time(found.get("nextTryAt")),
            raw=found,
        )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An item that ended FAILED. `replayable`: its batch has ended, so it can be run again now."""

    batch_id: str
    item_id: str
    custom_id: str | None
    error_code: str | None
    error_message: str | None
    retry_count: int
    replayable: bool
    raw: Wire = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Any) -> DeadLetter:
        """Read a dead letter as the server writes it."""
        found = object_of(raw, "dead letter", "batchId", "itemId")
        return cls(
            batch_id=str(found["batchId"]),
            item_id=str(found["itemId"]),
            custom_id=text(found.get("customId")),
            error_code=text(found.get("errorCode")),
            error_message=text(found.get("errorMessage")),
            retry_count=count(found.get("retryCount")),
            replayable=bool(found.get("replayable")),
            raw=found,
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay of dead letters did, or (`dry_run`) would do. `items`: how many are run again. `running`: batches
    that have not ended, of which nothing is. `next_after`: there are more batches than one replay goes through."""

    dry_run: bool
    items: int
    batches: tuple[Wire, ...]
    next_after: str | None

    @property
    def running(self) -> int:
        """How many of the batches have not ended yet."""
        return sum(each.get("state") == "RUNNING" for each in self.batches)

    @classmethod
    def from_wire(cls, raw: Any) -> Replay:
        """Read a replay as the server writes it."""
        found = object_of(raw, "replay", "items", "batches")
        batches = tuple(each for each in map(object_or_none, elements(found["batches"])) if each is not None)
        return cls(bool(found.get("dryRun")), count(found["items"]), batches, text(found.get("nextAfter")))


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """Part of a longer list; `next_after` asks for the part that follows, None at the end."""

    data: tuple[_T, ...]
    next_after: str | None
