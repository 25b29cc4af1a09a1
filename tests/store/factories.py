"""What tests of the store are made of, with defaults."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduler.domain.batch import Batch, CallbackOptions, NewBatch, NewItem
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.ids import uuid7
from scheduler.domain.outcome import ItemOutcome
from scheduler.domain.priority import Priority
from scheduler.domain.setup import DEFAULT_SCOPES, ApiKey, Connection, Provider, Resource, Target
from scheduler.domain.status import BatchType, ItemStatus
from scheduler.store import PostgresStore

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BOTH = CallbackOptions("https://receiver.example/hook", {"x-mine": "1"}, ("item_update", "batch_update"), (b"sealed",))


def new_id() -> UUID:
    """A UUIDv7 of now."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))


@dataclass(frozen=True, slots=True)
class Tenant:
    """Ids of a tenant's objects."""

    workspace_id: UUID
    environment_id: UUID
    connection_id: UUID
    resource_id: UUID
    other_resource_id: UUID
    api_key_id: UUID


async def make_tenant(store: PostgresStore, name: str = "acme") -> Tenant:
    """Store one workspace with one of everything, and two resources."""
    tenant = Tenant(new_id(), new_id(), new_id(), new_id(), new_id(), new_id())
    await store.setup.put_workspace(tenant.workspace_id, name, create=True)
    await store.setup.put_environment(tenant.workspace_id, tenant.environment_id, "prod", create=True)
    await store.setup.put_connection(connection_in(tenant), create=True)
    await store.setup.put_resource(resource_in(tenant, tenant.resource_id, "small"), create=True)
    await store.setup.put_resource(resource_in(tenant, tenant.other_resource_id, "large"), create=True)
    await store.setup.put_api_key(key_in(tenant), name.encode().ljust(32, b"\1"), create=True)
    return tenant


def connection_in(tenant: Tenant, **changes: Any) -> Connection:
    """A connection with every field set."""
    values: dict[str, Any] = {
        "workspace_id": tenant.workspace_id,
        "environment_id": tenant.environment_id,
        "connection_id": tenant.connection_id,
        "name": "sim",
        "description": "a provider",
        "provider": Provider.OPENAI_COMPATIBLE,
        "profile": None,
        "config": {"baseUrl": "http://127.0.0.1:9100/v1", "nul": "\0"},
        "secret_config": {"apiKey": b"\x00sealed\xff"},
        "allowed_models": ("a", "b"),
        "capacity": (Capacity(Period.MINUTE, requests=600, tokens=60_000),),
        "max_in_flight": 7,
        "version": 0,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Connection(**(values | changes))


def resource_in(tenant: Tenant, resource_id: UUID, name: str, **changes: Any) -> Resource:
    """A resource with two targets on the tenant's connection."""
    values: dict[str, Any] = {
        "workspace_id": tenant.workspace_id,
        "environment_id": tenant.environment_id,
        "resource_id": resource_id,
        "name": name,
        "description": None,
        "targets": (Target(tenant.connection_id, "b"), Target(tenant.connection_id, "a")),
        "spill": True,
        "capacity": (),
        "enforce_capacity": True,
        "max_in_flight": None,
        "timeout_ms": 600_000,
        "max_retries": 5,
        "priority": Priority.HIGH,
        "default_args": {"temperature": 0.5},
        "version": 0,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Resource(**(values | changes))


def key_in(tenant: Tenant, **changes: Any) -> ApiKey:
    """A key that may use the first resource only."""
    values: dict[str, Any] = {
        "workspace_id": tenant.workspace_id,
        "environment_id": tenant.environment_id,
        "api_key_id": tenant.api_key_id,
        "name": "dev",
        "description": None,
        "enabled": True,
        "resources": frozenset({tenant.resource_id}),
        "labels": ("x",),
        "capacity": (Capacity(Period.SECOND, requests=3, dimension="source-ip"),),
        "max_in_flight": None,
        "scopes": DEFAULT_SCOPES,
        "masked": "brim_ab…yz",
        "version": 0,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return ApiKey(**(values | changes))


def new_batch(tenant: Tenant, **changes: Any) -> NewBatch:
    """An ASYNC batch without extras."""
    values: dict[str, Any] = {
        "workspace_id": tenant.workspace_id,
        "environment_id": tenant.environment_id,
        "batch_id": new_id(),
        "type": BatchType.ASYNC,
        "callback": None,
        "capacity": (),
        "max_in_flight": None,
        "priority": Priority.NORMAL,
        "metadata": None,
        "deadline": None,
        "api_key_id": None,
    }
    return NewBatch(**(values | changes))


def new_items(tenant: Tenant, count: int, *, resource_id: UUID | None = None, **changes: Any) -> list[NewItem]:
    """Chat items on the tenant's first resource; item n (from 1) has the custom id "n"."""
    values: dict[str, Any] = {
        "resource_id": resource_id or tenant.resource_id,
        "endpoint": "/v1/chat/completions",
        "request": b'{"messages":[]}',
        "in_tokens": 10,
        "out_tokens": 16,
        "metadata": None,
    }
    return [NewItem(**({"custom_id": str(n)} | values | changes)) for n in range(1, count + 1)]


async def make_batch(
    store: PostgresStore, tenant: Tenant, count: int, *, idempotency_key: str | None = None, **changes: Any
) -> Batch:
    """Store a batch of `count` items. idempotency_key: reserved for it."""
    batch, _ = await store.batches.create(
        new_batch(tenant, **changes), new_items(tenant, count), idempotency_key=idempotency_key
    )
    return batch


def outcome(batch: Batch | UUID, seq: int, status: ItemStatus = ItemStatus.COMPLETED, **changes: Any) -> ItemOutcome:
    """How item `seq` ended: well, unless told otherwise; its lease is still good for a minute."""
    completed = status is ItemStatus.COMPLETED
    values: dict[str, Any] = {
        "batch_id": batch if isinstance(batch, UUID) else batch.batch_id,
        "seq": seq,
        "run": 1,
        "status": status,
        "error_code": None if completed else "PROVIDER_ERROR",
        "error_message": None if completed else "It said no.",
        "response": b'{"choices":[]}' if completed else None,
        "response_headers": {"x-request-id": f"r{seq}"} if completed else None,
        "prompt_tokens": 9,
        "output_tokens": 5,
        "retry_count": 0,
        "connection_id": None,
        "model": "b",
        "started_at": datetime.now(UTC),
        "completed_at": datetime.now(UTC),
        "valid_until": datetime.now(UTC) + timedelta(minutes=1),
    }
    return ItemOutcome(**(values | changes))


def outcomes(batch: Batch, seqs: Sequence[int], **changes: Any) -> list[ItemOutcome]:
    """Good outcomes of some items."""
    return [outcome(batch, seq, **changes) for seq in seqs]
