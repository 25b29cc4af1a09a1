"""Set-up objects as callers see them; secrets are masked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from scheduler.domain.parking import Parking
from scheduler.domain.setup import ApiKey, Connection, Environment, Resource, Target, Workspace
from scheduler.ports.learned import LearnedModel
from scheduler.providers.profiles import profile_of
from scheduler.services.budgets.capacity_body import CapacityBody, bodies_of
from scheduler.services.budgets.model_limits import discovered_capacity
from scheduler.services.callers.secrets import MASK


class WorkspaceView(Struct, rename="camel", frozen=True):
    """A tenant."""

    workspace_id: UUID
    name: str
    created_at: datetime
    updated_at: datetime


class EnvironmentView(Struct, rename="camel", frozen=True):
    """A stage of a tenant."""

    workspace_id: UUID
    environment_id: UUID
    name: str
    created_at: datetime
    updated_at: datetime


class ParkedView(Struct, rename="camel", frozen=True, kw_only=True):
    """Why nothing is sent now. model: "" for the whole connection. until: then one call is tried. times: in a row."""

    model: str
    code: str
    reason: str
    since: datetime
    until: datetime
    times: int


class ConnectionView(Struct, rename="camel", frozen=True, kw_only=True):
    """A provider account. discovered_capacity: limits that its provider told; read-only. parked: why it is shut now;
    empty: it is not."""

    workspace_id: UUID
    environment_id: UUID
    connection_id: UUID
    name: str
    description: str | None
    provider: str
    profile: str
    config: dict[str, Any]
    allowed_models: list[str] | None
    capacity: list[CapacityBody]
    max_in_flight: int | None
    direct_share: float
    discovered_capacity: list[CapacityBody] | None
    parked: list[ParkedView]
    version: int
    created_at: datetime
    updated_at: datetime


class TargetView(Struct, rename="camel", frozen=True):
    """A model at a connection."""

    connection_id: UUID
    model: str


class ResourceView(Struct, rename="camel", frozen=True, kw_only=True):
    """What callers name in a request."""

    workspace_id: UUID
    environment_id: UUID
    resource_id: UUID
    name: str
    description: str | None
    model: TargetView
    fallback_models: list[TargetView]
    spill: bool
    capacity: list[CapacityBody]
    enforce_capacity: bool
    max_in_flight: int | None
    timeout_ms: int
    max_retries: int
    priority: str
    default_args: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


class ApiKeyView(Struct, rename="camel", frozen=True, kw_only=True):
    """A caller's key. key: its text, only in the answer that made it."""

    workspace_id: UUID
    environment_id: UUID
    api_key_id: UUID
    name: str
    description: str | None
    enabled: bool
    resources: list[UUID] | None
    labels: list[str]
    capacity: list[CapacityBody]
    max_in_flight: int | None
    scopes: list[str]
    masked_key: str
    version: int
    created_at: datetime
    updated_at: datetime
    key: str | UnsetType = UNSET


def workspace_view(workspace: Workspace) -> WorkspaceView:
    """A workspace as shown."""
    return WorkspaceView(workspace.workspace_id, workspace.name, workspace.created_at, workspace.updated_at)


def environment_view(environment: Environment) -> EnvironmentView:
    """An environment as shown."""
    return EnvironmentView(
        environment.workspace_id,
        environment.environment_id,
        environment.name,
        environment.created_at,
        environment.updated_at,
    )


def connection_view(
    connection: Connection, parkings: Iterable[Parking] = (), learned: Iterable[LearnedModel] = ()
) -> ConnectionView:
    """A connection as shown: each secret field as the mask. learned: what answers told of its models; that of others is
    left out."""
    discovered = discovered_capacity(each for each in learned if each.connection_id == connection.connection_id)
    return ConnectionView(
        workspace_id=connection.workspace_id,
        environment_id=connection.environment_id,
        connection_id=connection.connection_id,
        name=connection.name,
        description=connection.description,
        provider=connection.provider.value,
        profile=profile_of(connection).name,
        config={**connection.config, **dict.fromkeys(connection.secret_config, MASK)},
        allowed_models=list(connection.allowed_models) if connection.allowed_models is not None else None,
        capacity=bodies_of(connection.capacity),
        max_in_flight=connection.max_in_flight,
        direct_share=connection.direct_share,
        discovered_capacity=bodies_of(discovered) if discovered is not None else None,
        parked=parked_views(parkings, connection.connection_id),
        version=connection.version,
        created_at=connection.created_at,
        updated_at=connection.updated_at,
    )


def parked_views(parkings: Iterable[Parking], connection_id: UUID) -> list[ParkedView]:
    """Those of one connection."""
    return [
        ParkedView(
            model=each.model,
            code=each.code,
            reason=each.reason,
            since=each.parked_at,
            until=each.due_at,
            times=each.times,
        )
        for each in parkings
        if each.connection_id == connection_id
    ]


def resource_view(resource: Resource) -> ResourceView:
    """A resource as shown."""
    first, *others = map(_target_view, resource.targets)
    return ResourceView(
        workspace_id=resource.workspace_id,
        environment_id=resource.environment_id,
        resource_id=resource.resource_id,
        name=resource.name,
        description=resource.description,
        model=first,
        fallback_models=others,
        spill=resource.spill,
        capacity=bodies_of(resource.capacity),
        enforce_capacity=resource.enforce_capacity,
        max_in_flight=resource.max_in_flight,
        timeout_ms=resource.timeout_ms,
        max_retries=resource.max_retries,
        priority=resource.priority.value,
        default_args=resource.default_args,
        version=resource.version,
        created_at=resource.created_at,
        updated_at=resource.updated_at,
    )


def _target_view(target: Target) -> TargetView:
    return TargetView(target.connection_id, target.model)


def api_key_view(key: ApiKey, text: str | None = None) -> ApiKeyView:
    """A key as shown; text: what it is, for the one answer that tells it."""
    return ApiKeyView(
        workspace_id=key.workspace_id,
        environment_id=key.environment_id,
        api_key_id=key.api_key_id,
        name=key.name,
        description=key.description,
        enabled=key.enabled,
        resources=sorted(key.resources) if key.resources is not None else None,
        labels=list(key.labels),
        capacity=bodies_of(key.capacity),
        max_in_flight=key.max_in_flight,
        scopes=sorted(key.scopes),
        masked_key=key.masked,
        version=key.version,
        created_at=key.created_at,
        updated_at=key.updated_at,
        key=text if text is not None else UNSET,
    )
