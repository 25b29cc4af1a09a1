"""Set-up objects as callers write them. An absent field keeps its value in a PUT and takes its default in
a POST.

Fields that we only show (ids, times, versions) may be sent back as they were read, and are ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from scheduler.domain.priority import Priority
from scheduler.domain.setup import SCOPES, Provider
from scheduler.services.budgets.capacity_body import CapacityBody, Slots

# No control characters: NUL cannot be stored, the others have no place in a name.
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Text = Annotated[str, Meta(max_length=10_000, pattern=r"^[^\x00]*$")]
Shown = Any
T = TypeVar("T")


def given(value: T | UnsetType, otherwise: T) -> T:
    """The value, or `otherwise` when the field is absent."""
    return otherwise if isinstance(value, UnsetType) else value


class WorkspaceBody(Struct, rename="camel", forbid_unknown_fields=True):
    """A tenant."""

    name: Name | UnsetType = UNSET
    workspace_id: UUID | UnsetType = UNSET
    created_at: Shown = None
    updated_at: Shown = None


class EnvironmentBody(Struct, rename="camel", forbid_unknown_fields=True):
    """A stage of a tenant."""

    name: Name | UnsetType = UNSET
    environment_id: UUID | UnsetType = UNSET
    workspace_id: Shown = None
    created_at: Shown = None
    updated_at: Shown = None


class ConnectionBody(Struct, rename="camel", forbid_unknown_fields=True):
    """A provider account. config: baseUrl, apiKey, headers and what else its provider knows. directShare: part of its
    limits per second and minute that is kept for direct calls."""

    name: Name | UnsetType = UNSET
    connection_id: UUID | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    provider: Provider | UnsetType = UNSET
    profile: Name | UnsetType | None = UNSET
    config: dict[str, Any] | UnsetType = UNSET
    allowed_models: list[Name] | UnsetType | None = UNSET
    capacity: list[CapacityBody] | UnsetType = UNSET
    max_in_flight: Slots | UnsetType | None = UNSET
    direct_share: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    workspace_id: Shown = None
    environment_id: Shown = None
    discovered_capacity: Shown = None
    parked: Shown = None
    version: Shown = None
    created_at: Shown = None
    updated_at: Shown = None


class TargetBody(Struct, rename="camel", forbid_unknown_fields=True):
    """A model at a connection, named by id or by name."""

    model: Name
    connection_id: UUID | None = None
    connection_name: Name | None = None

    def __post_init__(self) -> None:
        if self.connection_id is None and self.connection_name is None:
            raise ValueError("`connectionId` or connectionName is required")


class ResourceBody(Struct, rename="camel", forbid_unknown_fields=True):
    """What callers name in a request."""

    name: Name | UnsetType = UNSET
    resource_id: UUID | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    model: TargetBody | UnsetType = UNSET
    fallback_models: list[TargetBody] | UnsetType = UNSET
    spill: bool | UnsetType = UNSET
    capacity: list[CapacityBody] | UnsetType = UNSET
    enforce_capacity: bool | UnsetType = UNSET
    max_in_flight: Slots | UnsetType | None = UNSET
    timeout_ms: Annotated[int, Meta(ge=1, le=86_400_000)] | UnsetType = UNSET
    max_retries: Annotated[int, Meta(ge=0, le=1000)] | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    default_args: dict[str, Any] | UnsetType = UNSET
    workspace_id: Shown = None
    environment_id: Shown = None
    version: Shown = None
    created_at: Shown = None
    updated_at: Shown = None


class ApiKeyBody(Struct, rename="camel", forbid_unknown_fields=True):
    """A caller's key. resources: allowed ones by id or name, null for all. scopes: none means all but
    setup:*."""

    name: Name | UnsetType = UNSET
    api_key_id: UUID | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    resources: list[Name] | UnsetType | None = UNSET
    labels: list[Name] | UnsetType = UNSET
    capacity: list[CapacityBody] | UnsetType = UNSET
    max_in_flight: Slots | UnsetType | None = UNSET
    scopes: list[Literal[SCOPES]] | UnsetType | None = UNSET  # type: ignore[valid-type]
    workspace_id: Shown = None
    environment_id: Shown = None
    masked_key: Shown = None
    version: Shown = None
    created_at: Shown = None
    updated_at: Shown = None
