"""What the server tells: batches, items, events. Unknown fields stay in `raw`; absent ones are None or 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from .errors import UnexpectedAnswer

FINAL_STATUSES: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})

_T = TypeVar("_T")
_Raw = Mapping[str, Any]


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
    metadata: _Raw | None
    capacity: tuple[_Raw, ...]
    max_in_flight: int | None
    error_message: str | None
    deadline: datetime | None
    estimated_completion_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    completed_at: datetime | None
    items: tuple[Item, ...] | None
    next_items_after: str | None
    raw: _Raw = field(repr=False, compare=False)

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
        return _text(feasibility.get("warning")) if isinstance(feasibility, Mapping) else None

    @classmethod
    def from_wire(cls, raw: Any) -> Batch:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no batch."""
        wire = _object(raw, "batch", "batchId", "status")
        items = wire.get("items")
        after = wire.get("nextItemsAfter")
        return cls(
            batch_id=str(wire["batchId"]),
            type=_text(wire.get("type")) or "",
            status=str(wire["status"]),
            paused=wire.get("paused") is True,
            pending=_count(wire.get("pending")),
            running=_count(wire.get("running")),
            completed=_count(wire.get("completed")),
            failed=_count(wire.get("failed")),
            cancelled=_count(wire.get("cancelled")),
            total_items=_count(wire.get("totalItems")),
            completed_percentage=_number(wire.get("completedPercentage")),
            total_estimated_prompt_tokens=_count(wire.get("totalEstimatedPromptTokens")),
            total_prompt_tokens=_count(wire.get("totalPromptTokens")),
            total_output_tokens=_count(wire.get("totalOutputTokens")),
            priority=_text(wire.get("priority")),
            metadata=_mapping(wire.get("metadata")),
            capacity=tuple(_list(wire.get("capacity"))),
            max_in_flight=_count_or_none(wire.get("maxInFlight")),
            error_message=_text(wire.get("errorMessage")),
            deadline=_time(wire.get("deadline")),
            estimated_completion_at=_time(wire.get("estimatedCompletionAt")),
            created_at=_time(wire.get("createdAt")),
            updated_at=_time(wire.get("updatedAt")),
            completed_at=_time(wire.get("completedAt")),
            items=None if items is None else tuple(Item.from_wire(item) for item in _list(items)),
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
    request: _Raw | None
    response: _Raw | None
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
    metadata: _Raw | None
    raw: _Raw = field(repr=False, compare=False)

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
        wire = _object(raw, "item", "itemId", "status")
        return cls(
            item_id=str(wire["itemId"]),
            batch_id=_text(wire.get("batchId")),
            custom_id=_text(wire.get("customId")),
            resource_id=_text(wire.get("resourceId")),
            status=str(wire["status"]),
            request=_mapping(wire.get("request")),
            response=_mapping(wire.get("response")),
            error_message=_text(wire.get("errorMessage")),
            error_code=_text(wire.get("errorCode")),
            retry_count=_count(wire.get("retryCount")),
            estimated_prompt_tokens=_count_or_none(wire.get("estimatedPromptTokens")),
            prompt_tokens=_count_or_none(wire.get("promptTokens")),
            output_tokens=_count_or_none(wire.get("outputTokens")),
            total_tokens=_count_or_none(wire.get("totalTokens")),
            created_at=_time(wire.get("createdAt")),
            started_at=_time(wire.get("startedAt")),
            completed_at=_time(wire.get("completedAt")),
            metadata=_mapping(wire.get("metadata")),
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
    payload: Batch | Item | _Raw
    raw: _Raw = field(repr=False, compare=False)

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
        wire = _object(raw, "event", "action", "payload")
        action, payload = str(wire["action"]), wire["payload"]
        read: Batch | Item | _Raw
        if action.startswith("batch-"):
            read = Batch.from_wire(payload)
        elif action.startswith("item-"):
            read = Item.from_wire(payload)
        else:
            read = _object(payload, "event payload")
        return cls(id=event_id, action=action, payload=read, raw=wire)


@dataclass(frozen=True, slots=True)
class Headroom:
    """What a resource or connection could admit now: the server's whole answer is in `raw`."""

    raw: _Raw


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
    raw: _Raw = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Any) -> Delivery:
        """Read a delivery as the server writes it."""
        found = _object(raw, "delivery", "deliveryId", "state")
        return cls(
            delivery_id=str(found["deliveryId"]),
            event=str(found.get("event", "")),
            item_id=found.get("itemId"),
            state=str(found["state"]),
            attempts=int(found.get("attempts") or 0),
            last_status=found.get("lastStatus"),
            last_error=found.get("lastError"),
            next_try_at=_time(found.get("nextTryAt")),
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
    raw: _Raw = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Any) -> DeadLetter:
        """Read a dead letter as the server writes it."""
        found = _object(raw, "dead letter", "batchId", "itemId")
        return cls(
            batch_id=str(found["batchId"]),
            item_id=str(found["itemId"]),
            custom_id=_text(found.get("customId")),
            error_code=_text(found.get("errorCode")),
            error_message=_text(found.get("errorMessage")),
            retry_count=_count(found.get("retryCount")),
            replayable=bool(found.get("replayable")),
            raw=found,
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay of dead letters did, or (`dry_run`) would do. `items`: how many are run again. `running`: batches
    that have not ended, of which nothing is. `next_after`: there are more batches than one replay goes through."""

    dry_run: bool
    items: int
    batches: tuple[_Raw, ...]
    next_after: str | None

    @property
    def running(self) -> int:
        """How many of the batches have not ended yet."""
        return sum(each.get("state") == "RUNNING" for each in self.batches)

    @classmethod
    def from_wire(cls, raw: Any) -> Replay:
        """Read a replay as the server writes it."""
        found = _object(raw, "replay", "items", "batches")
        batches = tuple(each for each in map(_mapping, _list(found["batches"])) if each is not None)
        return cls(bool(found.get("dryRun")), _count(found["items"]), batches, _text(found.get("nextAfter")))


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """Part of a longer list; `next_after` asks for the part that follows, None at the end."""

    data: tuple[_T, ...]
    next_after: str | None


def _object(raw: Any, what: str, *needed: str) -> _Raw:
    if not isinstance(raw, Mapping) or any(name not in raw for name in needed):
        raise UnexpectedAnswer(f"the server's answer is no {what}: is the URL that of a Brim server?")
    return raw


def _mapping(value: Any) -> _Raw | None:
    return value if isinstance(value, Mapping) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _count(value: Any) -> int:
    return int(_number(value))


def _count_or_none(value: Any) -> int | None:
    return None if value is None else _count(value)


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        # Still in `raw`; a time in an odd form is no reason to lose the answer around it.
        return None
