"""From rows to the domain: batches, flows and their parts. The mapping of items is in item_rows.py."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import msgspec

from scheduler.domain.batch import Batch, CallbackOptions
from scheduler.domain.capacity import Capacity
from scheduler.domain.priority import Priority
from scheduler.domain.status import BatchStatus, BatchType
from scheduler.ports.flows import StoredFlow

_capacities = msgspec.json.Decoder(tuple[Capacity, ...])
_callback = msgspec.json.Decoder(CallbackOptions)
_any = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode

Row: TypeAlias = asyncpg.Record


class Snapshot(msgspec.Struct, frozen=True):
    """What an event keeps of its batch: the SQL function batch_snapshot, field for field."""

    status: BatchStatus
    paused: bool
    priority: Priority
    capacity: tuple[Capacity, ...]
    max_in_flight: int | None
    deadline: datetime | None
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
    updated_at: datetime
    completed_at: datetime | None
    last_event: int
    version: int


_snapshot = msgspec.json.Decoder(Snapshot)


def json_text(value: object) -> str:
    """The JSON of a value for a json column; dataclasses and enums included, bytes as base64."""
    return _encode(value).decode()


def json_value(text: str) -> Any:
    """The value of a json column."""
    return _any.decode(text)


def capacities_of(text: str) -> tuple[Capacity, ...]:
    """The value of a capacity column."""
    return _capacities.decode(text)


def receiver_of(callback: CallbackOptions) -> str:
    """Host and port of a callback: what deliveries are shared out over."""
    return receiver_of_url(callback.url)


def receiver_of_url(text: str) -> str:
    """The same of any URL."""
    url = urlsplit(text)
    port = url.port or (443 if url.scheme == "https" else 80)
    return f"{(url.hostname or '').lower()}:{port}"


def callback_of(text: str) -> CallbackOptions:
    """The value of a callback column."""
    return _callback.decode(text)


def batch_of(row: Row) -> Batch:
    """A row of `batches` with `api_key_name`."""
    return Batch(
        workspace_id=row["workspace_id"],
        environment_id=row["environment_id"],
        batch_id=row["batch_id"],
        type=BatchType(row["type"]),
        status=BatchStatus(row["status"]),
        callback=None if row["callback"] is None else callback_of(row["callback"]),
        capacity=capacities_of(row["capacity"]),
        max_in_flight=row["max_in_flight"],
        priority=Priority(row["priority"]),
        metadata=row["metadata"],
        deadline=row["deadline"],
        paused=row["paused"],
        total_items=row["total_items"],
        stored=row["stored"],
        sealed=row["sealed"],
        completed=row["completed"],
        failed=row["failed"],
        cancelled=row["cancelled"],
        estimated_prompt_tokens=row["estimated_prompt_tokens"],
        prompt_tokens=row["prompt_tokens"],
        output_tokens=row["output_tokens"],
        error_message=row["error_message"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        completed_at=row["completed_at"],
        api_key_id=row["api_key_id"],
        api_key_name=row["api_key_name"],
        last_event=row["last_event"],
        version=row["version"],
        fine_priority=row["fine_priority"],
        caller=row["caller"],
    )


def batch_as_of(now: Batch, snapshot: str) -> Batch:
    """The batch as it was when the snapshot was taken: what never changes comes from `now`."""
    then = _snapshot.decode(snapshot)
    return Batch(
        workspace_id=now.workspace_id,
        environment_id=now.environment_id,
        batch_id=now.batch_id,
        type=now.type,
        callback=now.callback,
        metadata=now.metadata,
        created_at=now.created_at,
        api_key_id=now.api_key_id,
        api_key_name=now.api_key_name,
        fine_priority=now.fine_priority,
        caller=now.caller,
        **msgspec.structs.asdict(then),
    )


def flow_of(row: Row) -> StoredFlow:
    """A row of `batch_flows`."""
    return StoredFlow(
        batch_id=row["batch_id"],
        resource_id=row["resource_id"],
        workspace_id=row["workspace_id"],
        environment_id=row["environment_id"],
        shard=row["shard"],
        generation=row["generation"],
        items=row["items"],
        first=row["first"],
        last=row["last"],
    )
