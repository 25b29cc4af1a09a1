"""Batches and items as the store keeps them and the faces show them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from scheduler.domain.capacity import Capacity
from scheduler.domain.output_length import OutputGuess
from scheduler.domain.priority import Priority, fine_weight_of, weight_of
from scheduler.domain.status import BatchStatus, BatchType, ItemStatus

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/moderations"]
ENDPOINTS: tuple[Endpoint, ...] = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/moderations",
)
"""In the order in which items.endpoint numbers them: new ones come last."""
CallbackEvent = Literal["item_update", "batch_update"]
AskedEvent = Literal["item_update", "batch_update", "all"]


@dataclass(frozen=True, slots=True)
class CallbackOptions:
    """Where and when to call back. events: as asked for, which is how they are shown.

    sealed_secrets: what signs, encrypted, the newest first. secret: in the clear, from an older version, until
    the workers seal it.
    """

    url: str
    headers: dict[str, str]
    events: tuple[AskedEvent, ...]
    sealed_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    secret: str | None = field(default=None, repr=False)

    def wants(self, event: CallbackEvent) -> bool:
        """Whether such events are to be told."""
        return event in self.events or "all" in self.events


@dataclass(frozen=True, slots=True)
class NewItem:
    """One checked item about to be stored. request / metadata: JSON bytes as given (model and stream still as given).

    in_tokens: estimated prompt tokens. out_tokens: reserve for the output (max_tokens × n, or what was likely). guess:
    when it was no more than that, how to guess again once more is known.
    """

    resource_id: UUID
    endpoint: Endpoint
    request: bytes
    in_tokens: int
    out_tokens: int
    custom_id: str | None
    metadata: bytes | None
    guess: OutputGuess | None = None


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A checked batch about to be stored, without its items. metadata: JSON bytes.

    fine_priority: 0 to 255, counts in place of `priority`. max_retries: of its items, in place of their resource's.
    caller: the address that it came from, if its key counts callers apart.
    """

    workspace_id: UUID
    environment_id: UUID
    batch_id: UUID
    type: BatchType
    callback: CallbackOptions | None
    capacity: tuple[Capacity, ...]
    max_in_flight: int | None
    priority: Priority
    metadata: bytes | None
    deadline: datetime | None
    api_key_id: UUID | None
    fine_priority: int | None = None
    max_retries: int | None = None
    caller: str | None = None


@dataclass(frozen=True, slots=True)
class BatchChange:
    """What is to change of a live batch. None: unchanged; an empty capacity or `no_deadline` takes it away."""

    priority: Priority | None = None
    capacity: tuple[Capacity, ...] | None = None
    deadline: datetime | None = None
    no_deadline: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as stored. completed / failed / cancelled count recorded outcomes; the rest is pending or running.

    stored: items written so far. sealed: all items are here. version: rises with every control change (status,
    pause, priority, capacity); the engine ignores older ones. last_event: number of its newest event.
    """

    workspace_id: UUID
    environment_id: UUID
    batch_id: UUID
    type: BatchType
    status: BatchStatus
    callback: CallbackOptions | None
    capacity: tuple[Capacity, ...]
    max_in_flight: int | None
    priority: Priority
    metadata: bytes | None
    deadline: datetime | None
    paused: bool
    total_items: int
    stored: int
    sealed: bool
    completed: int
    failed: int
    cancelled: int
    estimated_prompt_tokens: int
    prompt_tokens: int
    output_tokens: int
    error_message: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    api_key_id: UUID | None
    api_key_name: str | None
    last_event: int
    version: int
    fine_priority: int | None = None
    caller: str | None = None

    @property
    def weight(self) -> float:
        """Its share of service relative to other batches."""
        return weight_of(self.priority) if self.fine_priority is None else fine_weight_of(self.fine_priority)

    @property
    def finished(self) -> int:
        """Items with an outcome for their current run."""
        return self.completed + self.failed + self.cancelled

    @property
    def ended(self) -> bool:
        """Its end event is recorded: `last_event` is the last one. CANCELLED alone is not enough, running items still
        end after it."""
        return self.completed_at is not None


@dataclass(frozen=True, slots=True)
class Item:
    """An item with the outcome of its current run, if it has one (status PENDING: none; running is overlaid from the
    leases). request / response / metadata: JSON bytes as stored. served_*: the target that answered."""

    workspace_id: UUID
    environment_id: UUID
    batch_id: UUID
    seq: int
    run: int
    custom_id: str | None
    resource_id: UUID
    endpoint: Endpoint
    status: ItemStatus
    request: bytes
    metadata: bytes | None
    response: bytes | None
    response_headers: dict[str, str] | None
    error_code: str | None
    error_message: str | None
    retry_count: int
    in_tokens: int
    prompt_tokens: int | None
    output_tokens: int | None
    served_connection: str | None
    served_model: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    event_no: int | None


class BatchAction:
    """Event names of batches on the feed and in SSE."""

    CREATED = "batch-created"
    COMPLETED = "batch-completed"
    FAILED = "batch-failed"
    CANCELLED = "batch-cancelled"


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """A numbered batch event with the batch as it was then."""

    event_no: int
    action: str
    batch: Batch


@dataclass(frozen=True, slots=True)
class ItemEvent:
    """A numbered item event: the item as its outcome left it."""

    event_no: int
    item: Item


Event = BatchEvent | ItemEvent
