"""Batches and items as callers see them: the contract's JSON, with bodies as the bytes that were stored.

The one home of these shapes: the API answers them, SSE frames (frames.py) and callbacks carry them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from scheduler.domain.batch import Batch, CallbackOptions, Item
from scheduler.domain.ids import ItemIds
from scheduler.domain.status import FINAL_BATCH, BatchStatus, ItemStatus
from scheduler.services.batches.progress import Counts, Standing, counts_of
from scheduler.services.budgets.capacity_body import CapacityBody, bodies_of
from scheduler.services.explain.views import Feasibility, Outlook

_encoder = msgspec.json.Encoder()


class CallbackOptionsView(Struct, rename="camel", frozen=True):
    """Callback options as shown: the secret never is."""

    url: str
    headers: dict[str, str]
    events: list[str]


class CreatedByApiKey(Struct, rename="camel", frozen=True):
    """The key that made a batch."""

    api_key_id: UUID
    name: str | None


class BatchView(Struct, rename="camel", frozen=True, kw_only=True):
    """A batch. Counts add up to total_items. completed_percentage: 0 to 100, items finished of all.

    feasibility: only while it is live, where it is read alone. error_message: of a live batch, why nothing of it moves.
    """

    workspace_id: UUID
    environment_id: UUID
    batch_id: UUID
    timestamp: datetime
    type: Literal["SYNC", "ASYNC", "CALLBACK"]
    status: Literal["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    callback_options: CallbackOptionsView | None
    capacity: list[CapacityBody]
    max_in_flight: int | None
    priority: str
    metadata: Raw | None
    deadline: datetime | None
    paused: bool
    pending: int
    running: int
    completed: int
    failed: int
    cancelled: int
    total_items: int
    total_estimated_prompt_tokens: int
    total_prompt_tokens: int
    total_output_tokens: int
    completed_percentage: float
    estimated_completion_at: datetime | None
    error_message: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    created_by_user_id: None = None
    created_by_api_key_id: UUID | None = None
    created_by_user: UnsetType | None = UNSET
    created_by_api_key: CreatedByApiKey | UnsetType | None = UNSET
    feasibility: Feasibility | UnsetType = UNSET
    items: Raw | UnsetType = UNSET
    next_items_after: UUID | UnsetType | None = UNSET


class ResponseView(Struct, frozen=True):
    """What the provider answered."""

    data: Raw
    headers: dict[str, str]


class ServedBy(Struct, frozen=True):
    """The target that served an item."""

    connection: str | None
    model: str | None


class ItemView(Struct, rename="camel", frozen=True, kw_only=True):
    """An item. response: once COMPLETED."""

    workspace_id: UUID
    environment_id: UUID
    batch_id: UUID
    item_id: UUID
    custom_id: str | None
    resource_id: UUID
    endpoint: str
    status: Literal["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    request: Raw
    response: ResponseView | None
    error_message: str | None
    error_code: str | None
    retry_count: int
    estimated_prompt_tokens: int
    prompt_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    served_by: ServedBy | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    metadata: Raw | None


def batch_view(
    batch: Batch,
    counts: Counts,
    *,
    users: bool = False,
    now: datetime | None = None,
    outlook: Outlook | None = None,
) -> BatchView:
    """A batch with the counts to show. users: who made it. outlook: when it ends; where that is not known, `now` lets
    the end be estimated from the pace so far."""
    return BatchView(
        workspace_id=batch.workspace_id,
        environment_id=batch.environment_id,
        batch_id=batch.batch_id,
        timestamp=batch.created_at,
        type=batch.type.value,
        status=batch.status.value,
        callback_options=_callback_view(batch.callback),
        capacity=bodies_of(batch.capacity),
        max_in_flight=batch.max_in_flight,
        priority=batch.priority.value,
        metadata=Raw(batch.metadata) if batch.metadata is not None else None,
        deadline=batch.deadline,
        paused=batch.paused,
        pending=counts.pending,
        running=counts.running,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
        total_items=batch.total_items,
        total_estimated_prompt_tokens=batch.estimated_prompt_tokens,
        total_prompt_tokens=batch.prompt_tokens,
        total_output_tokens=batch.output_tokens,
        completed_percentage=_percentage(counts, batch.total_items),
        estimated_completion_at=(outlook.expected_end if outlook else None) or _estimated_end(batch, now),
        error_message=batch.error_message or (outlook.stuck if outlook else None),
        created_at=batch.created_at,
        updated_at=batch.updated_at,
        completed_at=batch.completed_at,
        created_by_api_key_id=batch.api_key_id,
        created_by_user=None if users else UNSET,
        created_by_api_key=_made_by(batch) if users else UNSET,
        feasibility=outlook.feasibility if outlook else UNSET,
    )


def item_view(item: Item, ids: ItemIds, standing: Standing | None = None) -> ItemView:
    """An item as it stands (as recorded when that is not given). ids: those of its batch."""
    shown = standing.status if standing else item.status
    completed = shown is ItemStatus.COMPLETED and item.response is not None
    known = [tokens for tokens in (item.prompt_tokens, item.output_tokens) if tokens is not None]
    served = item.served_connection is not None or item.served_model is not None
    return ItemView(
        workspace_id=item.workspace_id,
        environment_id=item.environment_id,
        batch_id=item.batch_id,
        item_id=ids.of(item.seq),
        custom_id=item.custom_id,
        resource_id=item.resource_id,
        endpoint=item.endpoint,
        status=shown.value,
        request=Raw(item.request),
        response=ResponseView(Raw(item.response), item.response_headers or {})
        if completed and item.response is not None
        else None,
        error_message=item.error_message,
        error_code=item.error_code,
        retry_count=item.retry_count,
        estimated_prompt_tokens=item.in_tokens,
        prompt_tokens=item.prompt_tokens,
        output_tokens=item.output_tokens,
        total_tokens=sum(known) if known else None,
        served_by=ServedBy(item.served_connection, item.served_model) if served else None,
        created_at=item.created_at,
        started_at=(standing.started_at if standing else None) or item.started_at,
        completed_at=item.completed_at,
        metadata=Raw(item.metadata) if item.metadata is not None else None,
    )


def running_item_view(item: Item, ids: ItemIds, started_at: datetime | None = None) -> ItemView:
    """An item as it was while it ran, also when its outcome is known by now. started_at: unless recorded."""
    return _without_outcome(item_view(item, ids, Standing(ItemStatus.RUNNING, item.started_at or started_at)))


def recorded_item_view(item: Item, ids: ItemIds, batch: Batch) -> ItemView:
    """An item as of the moment when `batch` was read, without anything live: views of all of them agree with the
    batch's recorded counts, also when an outcome was written since."""
    if item.event_no is not None and item.event_no <= batch.last_event:
        return item_view(item, ids)
    dropped = batch.status is BatchStatus.CANCELLED
    view = item_view(item, ids, Standing(ItemStatus.CANCELLED if dropped else ItemStatus.PENDING))
    return msgspec.structs.replace(_without_outcome(view), started_at=None, retry_count=0)


def _without_outcome(view: ItemView) -> ItemView:
    return msgspec.structs.replace(
        view,
        response=None,
        error_message=None,
        error_code=None,
        prompt_tokens=None,
        output_tokens=None,
        total_tokens=None,
        served_by=None,
        completed_at=None,
    )


def encode(view: Any) -> bytes:
    """A view as JSON; raw parts as they are."""
    return _encoder.encode(view)


def encode_batch(batch: Batch) -> bytes:
    """A recorded batch as JSON, without anything live: for events and callbacks."""
    return encode(batch_view(batch, counts_of(batch, 0)))


def _callback_view(callback: CallbackOptions | None) -> CallbackOptionsView | None:
    if callback is None:
        return None
    return CallbackOptionsView(callback.url, callback.headers, list(callback.events))


def _made_by(batch: Batch) -> CreatedByApiKey | None:
    if batch.api_key_id is None:
        return None
    return CreatedByApiKey(batch.api_key_id, batch.api_key_name)


def _percentage(counts: Counts, total_items: int) -> float:
    """Rounded down, so that 100 means all."""
    finished = counts.completed + counts.failed + counts.cancelled
    return finished * 10_000 // total_items / 100 if total_items else 0.0


def _estimated_end(batch: Batch, now: datetime | None) -> datetime | None:
    """When the batch ends if it goes on as it did so far; None when nothing is finished yet, or all is."""
    if now is None or batch.status in FINAL_BATCH or batch.paused or not batch.finished:
        return None
    so_far_s = (now - batch.created_at).total_seconds()
    remaining = batch.total_items - batch.finished
    return now + timedelta(seconds=max(so_far_s, 0.0) * remaining / batch.finished)
