"""The objects that an administrator sets up."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from scheduler.domain.capacity import Capacity
from scheduler.domain.priority import Priority


class Provider(StrEnum):
    """Whose wire a connection speaks, and the default profile of its limits."""

    OPENAI = "openai"
    AZURE = "azure"
    ANTHROPIC = "anthropic"
    GROQ = "groq"
    GEMINI = "gemini"
    VLLM = "vllm"
    OPENAI_COMPATIBLE = "openai-compatible"
    NOOP = "noop"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A tenant."""

    workspace_id: UUID
    name: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Environment:
    """A stage of a tenant; it lives on one shard for ever."""

    workspace_id: UUID
    environment_id: UUID
    name: str
    shard: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Connection:
    """A provider account. secret_config: encrypted values by field name (apiKey …); config: the plain rest
    (baseUrl …). profile None: the provider's own. direct_share: part (0 to 1) of its limits per second and minute that
    direct calls find free at any time."""

    workspace_id: UUID
    environment_id: UUID
    connection_id: UUID
    name: str
    description: str | None
    provider: Provider
    profile: str | None
    config: dict[str, Any]
    secret_config: dict[str, bytes] = field(repr=False)
    allowed_models: tuple[str, ...] | None
    capacity: tuple[Capacity, ...]
    max_in_flight: int | None
    version: int
    created_at: datetime
    updated_at: datetime
    direct_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Target:
    """One way to serve a resource: a model at a connection."""

    connection_id: UUID
    model: str


@dataclass(frozen=True, slots=True)
class Resource:
    """What callers name. targets[0] is its model, the others its fallbackModels.

    likely_output_tokens: what nearly all of its answers were seen to need; learned, so not part of its version. None:
    too little is known.
    """

    workspace_id: UUID
    environment_id: UUID
    resource_id: UUID
    name: str
    description: str | None
    targets: tuple[Target, ...]
    spill: bool
    capacity: tuple[Capacity, ...]
    enforce_capacity: bool
    max_in_flight: int | None
    timeout_ms: int
    max_retries: int
    priority: Priority
    default_args: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime
    likely_output_tokens: int | None = None


SCOPES_BATCH = (
    "completion-batch:create",
    "completion-batch:get",
    "completion-batch:cancel",
    "completion-batch:manage",
)
SCOPES = (*SCOPES_BATCH, "batch:*", "job:*", "setup:*")
DEFAULT_SCOPES = frozenset(SCOPES) - {"setup:*"}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A caller's key, without its secret. resources None: all of the environment. scopes: expanded, never empty.

    masked: for display, e.g. "brim_ab…yz". caller: the address that it is used from now, where its limits count callers
    apart; never stored with it.
    """

    workspace_id: UUID
    environment_id: UUID
    api_key_id: UUID
    name: str
    description: str | None
    enabled: bool
    resources: frozenset[UUID] | None
    labels: tuple[str, ...]
    capacity: tuple[Capacity, ...]
    max_in_flight: int | None
    scopes: frozenset[str]
    masked: str
    version: int
    created_at: datetime
    updated_at: datetime
    caller: str | None = None

    @property
    def counts_callers_apart(self) -> bool:
        """Whether it has limits per caller address."""
        return any(each.enabled and each.dimension is not None for each in self.capacity)
