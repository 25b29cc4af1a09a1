"""Shapes that exist only for the documentation: bodies that are read field by field, pages, errors, status."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

from scheduler.domain.batch import Endpoint
from scheduler.domain.priority import Priority
from scheduler.services.batches.dead_letters import DeadLetterView
from scheduler.services.batches.delivery_views import DeliveryView
from scheduler.services.batches.envelope import CallbackOptionsBody
from scheduler.services.batches.views import BatchView
from scheduler.services.budgets.capacity_body import CapacityBody, Slots
from scheduler.services.items.check import ItemBody


class CreateBatch(Struct, rename="camel", forbid_unknown_fields=True):
    """A batch to create. callbackOptions: for CALLBACK only, and required there."""

    type: Literal["SYNC", "ASYNC", "CALLBACK"]
    items: Annotated[list[ItemBody], Meta(min_length=1)]
    capacity: list[CapacityBody] | None = None
    max_in_flight: Slots | None = None
    priority: Priority | None = None
    metadata: dict[str, Any] | None = None
    deadline: Annotated[datetime, Meta(tz=True)] | None = None
    callback_options: CallbackOptionsBody | None = None


class OutputExpiresAfter(Struct, forbid_unknown_fields=True):
    """How long the result files of a batch are kept."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3600, le=2_592_000)]


class CreateOpenAIBatch(Struct, forbid_unknown_fields=True):
    """A batch of an uploaded file. completion_window: hours or days, as 24h. priority, webhook_*, execution_mode: ours.
    webhook_secret: two while they change, the newest first."""

    input_file_id: str
    endpoint: Endpoint
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: OutputExpiresAfter | None = None
    priority: Annotated[int, Meta(ge=0, le=255)] | None = None
    webhook_url: str | None = None
    webhook_secret: str | list[str] | None = None
    webhook_format: Literal["openai", "brim"] | None = None
    execution_mode: Literal["here", "native"] | None = None


class MessageRequest(Struct):
    """One request of a message batch. params: what Anthropic's /v1/messages takes; its model names a resource."""

    custom_id: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    params: dict[str, Any]


class CreateMessageBatch(Struct):
    """A message batch."""

    requests: list[MessageRequest]


class BatchPage(Struct, rename="camel"):
    """A page of batches, newest first; next_after continues it."""

    data: list[BatchView]
    has_more: bool
    next_after: UUID | None


class ChangeBatch(Struct, rename="camel", forbid_unknown_fields=True):
    """What to change of a live batch; what is absent stays. null or [] takes capacity away, null the deadline."""

    priority: Priority | None = None
    capacity: list[CapacityBody] | None = None
    deadline: Annotated[datetime, Meta(tz=True)] | None = None


class RetryBody(Struct, rename="camel", forbid_unknown_fields=True):
    """Which items to run again; all that failed when absent."""

    items: Annotated[list[UUID], Meta(min_length=1, max_length=10_000)] | None = None


class DeliveryPage(Struct, rename="camel"):
    """A page of callbacks, oldest first; next_after continues it."""

    data: list[DeliveryView]
    has_more: bool
    next_after: UUID | None


class ReplayedDeliveries(Struct, rename="camel"):
    """How many dead callbacks are sent again."""

    replayed: int


class DeadLetterList(Struct, rename="camel"):
    """A page of dead letters; next_after continues it."""

    data: list[DeadLetterView]
    has_more: bool
    next_after: str | None
