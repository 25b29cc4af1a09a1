"""From what a caller wrote to a checked connection, resource or API key, new or changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

from msgspec import UnsetType

from scheduler.domain.capacity import Capacity
from scheduler.domain.errors import NotFound
from scheduler.domain.priority import Priority
from scheduler.domain.setup import DEFAULT_SCOPES, ApiKey, Connection, Provider, Resource, Target
from scheduler.ports.setup import SetupStore
from scheduler.providers.profiles import PROFILES, is_profile
from scheduler.services.budgets.capacity_body import CapacityBody, capacities_of
from scheduler.services.callers.keys import MadeKey
from scheduler.services.callers.secrets import MASK, Vault
from scheduler.services.callers.tenants import Address
from scheduler.services.reading.meant import did_you_mean
from scheduler.services.reading.problems import refuse
from scheduler.services.setup.bodies import ApiKeyBody, ConnectionBody, ResourceBody, TargetBody, given

DEFAULT_TIMEOUT_MS = 600_000
DEFAULT_MAX_RETRIES = 5
_SECRET_FIELD = re.compile(r"(key|secret|token|password)$", re.IGNORECASE)
_SECRET_HEADER = re.compile(r"authorization|cookie|key|secret|token|password", re.IGNORECASE)
_NEEDS_BASE_URL = frozenset({Provider.AZURE, Provider.VLLM, Provider.OPENAI_COMPATIBLE})

T = TypeVar("T")


def _required(value: T | UnsetType, field: str, before: T | None) -> T:
    if not isinstance(value, UnsetType):
        return value
    if before is None:
        raise refuse(field, "is required")
    return before


def _capacity(
    bodies: Sequence[CapacityBody] | UnsetType, before: tuple[Capacity, ...] | None, *, per_address: bool = False
) -> tuple[Capacity, ...]:
    """per_address: limits may count callers apart."""
    if isinstance(bodies, UnsetType):
        return before or ()
    for position, body in enumerate(bodies):
        if body.dimension is not None and not per_address:
            raise refuse(f"capacity[{position}].dimension", "is for capacities of API keys only")
    return capacities_of(bodies)


class ConnectionForm:
    """Turns bodies into connections; secrets are sealed on the way."""

    def __init__(self, vault: Vault, *, allow_noop: bool) -> None:
        self._vault = vault
        self._allow_noop = allow_noop

    def fill(self, address: Address, body: ConnectionBody, before: Connection | None) -> Connection:
        """The connection that a POST (before None) or PUT asks for; times and version are the store's to
        set."""
        provider = _required(body.provider, "provider", before.provider if before else None)
        if provider is Provider.NOOP and not self._allow_noop:
            raise refuse("provider", "noop is for benches only: it needs BRIM_ALLOW_NOOP")
        config, secret_config = self._config(given(body.config, None), before)
        if provider in _NEEDS_BASE_URL and "baseUrl" not in config:
            raise refuse("config.baseUrl", f"is required for provider {provider.value}")
        allowed = given(body.allowed_models, _listed(before.allowed_models) if before else None)
        now = datetime.now(UTC)
        return Connection(
            workspace_id=address.workspace_id,
            environment_id=address.environment_id,
            connection_id=before.connection_id if before else given(body.connection_id, uuid4()),
            name=_required(body.name, "name", before.name if before else None),
            description=given(body.description, before.description if before else None),
            provider=provider,
            profile=_profile(body.profile)
            if not isinstance(body.profile, UnsetType)
            else (before.profile if before else None),
            config=config,
            secret_config=secret_config,
            allowed_models=tuple(allowed) if allowed is not None else None,
            capacity=_capacity(body.capacity, before.capacity if before else None),
            max_in_flight=given(body.max_in_flight, before.max_in_flight if before else None),
            version=before.version if before else 1,
            created_at=before.created_at if before else now,
            updated_at=now,
            direct_share=given(body.direct_share, before.direct_share if before else 0.0),
        )

    def _config(
        self, config: Mapping[str, Any] | None, before: Connection | None
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """(plain, sealed) fields. A secret given as the mask keeps its old value, one that is null is
        dropped."""
        if config is None:
            return (before.config, before.secret_config) if before else ({}, {})
        plain: dict[str, Any] = {}
        sealed: dict[str, bytes] = {}
        for name, value in config.items():
            if not _SECRET_FIELD.search(name):
                plain[name] = value
            elif value == MASK:
                if before is None or name not in before.secret_config:
                    raise refuse(f"config.{name}", "is masked, and there is no old value to keep")
                sealed[name] = before.secret_config[name]
            elif isinstance(value, str) and value:
                sealed[name] = self._seal(name, value, before)
            elif value is not None:
                raise refuse(f"config.{name}", "must be a string")
        _check_plain(plain)
        return plain, sealed

    def _seal(self, name: str, value: str, before: Connection | None) -> bytes:
        old = before.secret_config.get(name) if before else None
        if old is not None and self._vault.open(old) == value:
            return old
        return self._vault.seal(value)


def _profile(name: str | None) -> str | None:
    if name is not None and not is_profile(name):
        raise refuse("profile", f"must be one of {', '.join(PROFILES)}")
    return name


def _listed(models: tuple[str, ...] | None) -> list[str] | None:
    return list(models) if models is not None else None


def _check_plain(config: Mapping[str, Any]) -> None:
    base_url = config.get("baseUrl")
    if base_url is not None and not (isinstance(base_url, str) and re.match(r"https?://[^/\s]", base_url)):
        raise refuse("config.baseUrl", "must begin with http:// or https:// and name a host")
    for name in ("apiVersion", "deployment", "anthropicVersion"):
        value = config.get(name)
        if value is not None and not (isinstance(value, str) and re.fullmatch(r"[\w.-]+", value)):
            raise refuse(f"config.{name}", "must be a word of letters, digits, '.', '-' and '_'")
    headers = config.get("headers")
    if headers is None:
        return
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise refuse("config.headers", "must be an object of strings")
    for name in headers:
        if _SECRET_HEADER.search(name):
            raise refuse(f"config.headers.{name}", "would hold a secret: use config.apiKey, which is encrypted")


def find_target(body: TargetBody, field: str, connections: Sequence[Connection]) -> Target:
    """The target that a body names. Raises NotFound AI_CONNECTION_NOT_FOUND, Invalid for a model that is
    not allowed."""
    for connection in connections:
        if connection.connection_id == body.connection_id or (
            body.connection_id is None and connection.name == body.connection_name
        ):
            if connection.allowed_models is not None and body.model not in connection.allowed_models:
                raise refuse(f"{field}.model", f"{body.model} is not among the connection's allowedModels")
            return Target(connection.connection_id, body.model)
    named = body.connection_id or body.connection_name
    meant = did_you_mean(str(named), (each.name for each in connections))
    raise NotFound(f"{field}: there is no connection {named}.{meant}", code="AI_CONNECTION_NOT_FOUND")


async def fill_resource(setup: SetupStore, address: Address, body: ResourceBody, before: Resource | None) -> Resource:
    """The resource that a POST (before None) or PUT asks for; times and version are the store's to set."""
    name = _required(body.name, "name", before.name if before else None)
    capacity = _capacity(body.capacity, before.capacity if before else None)
    model = before.targets[0] if before else None
    fallbacks = before.targets[1:] if before else ()
    if not isinstance(body.model, UnsetType) or not isinstance(body.fallback_models, UnsetType):
        connections = await setup.connections(address.environment_id)
        if not isinstance(body.model, UnsetType):
            model = find_target(body.model, "model", connections)
        if not isinstance(body.fallback_models, UnsetType):
            fallbacks = tuple(
                find_target(each, f"fallbackModels[{position}]", connections)
                for position, each in enumerate(body.fallback_models)
            )
    if model is None:
        raise refuse("model", "is required")
    now = datetime.now(UTC)
    return Resource(
        workspace_id=address.workspace_id,
        environment_id=address.environment_id,
        resource_id=before.resource_id if before else given(body.resource_id, uuid4()),
        name=name,
        description=given(body.description, before.description if before else None),
        targets=(model, *fallbacks),
        spill=given(body.spill, before.spill if before else False),
        capacity=capacity,
        enforce_capacity=given(body.enforce_capacity, before.enforce_capacity if before else True),
        max_in_flight=given(body.max_in_flight, before.max_in_flight if before else None),
        timeout_ms=given(body.timeout_ms, before.timeout_ms if before else DEFAULT_TIMEOUT_MS),
        max_retries=given(body.max_retries, before.max_retries if before else DEFAULT_MAX_RETRIES),
        priority=given(body.priority, before.priority if before else Priority.NORMAL),
        default_args=given(body.default_args, before.default_args if before else {}),
        version=before.version if before else 1,
        created_at=before.created_at if before else now,
        updated_at=now,
    )


async def fill_key(
    setup: SetupStore, address: Address, body: ApiKeyBody, before: ApiKey | None, made: MadeKey | None
) -> ApiKey:
    """The key that a POST (before None) or PUT asks for. made: its new text; None keeps the old one."""
    name = _required(body.name, "name", before.name if before else None)
    capacity = _capacity(body.capacity, before.capacity if before else None, per_address=True)
    resources = before.resources if before else None
    if not isinstance(body.resources, UnsetType):
        named = body.resources
        resources = None if named is None else await resources_named(setup, address, named)
    scopes = before.scopes if before else DEFAULT_SCOPES
    if not isinstance(body.scopes, UnsetType):
        scopes = frozenset(body.scopes or DEFAULT_SCOPES)
    now = datetime.now(UTC)
    return ApiKey(
        workspace_id=address.workspace_id,
        environment_id=address.environment_id,
        api_key_id=before.api_key_id if before else given(body.api_key_id, uuid4()),
        name=name,
        description=given(body.description, before.description if before else None),
        enabled=given(body.enabled, before.enabled if before else True),
        resources=resources,
        labels=tuple(given(body.labels, list(before.labels) if before else [])),
        capacity=capacity,
        max_in_flight=given(body.max_in_flight, before.max_in_flight if before else None),
        scopes=scopes,
        masked=made.masked if made else (before.masked if before else ""),
        version=before.version if before else 1,
        created_at=before.created_at if before else now,
        updated_at=now,
    )


async def resources_named(setup: SetupStore, address: Address, names: Sequence[str]) -> frozenset[UUID]:
    """Resources by id or by name. Raises NotFound AI_RESOURCE_NOT_FOUND naming those that do not exist."""
    known = await setup.resources(address.environment_id)
    ids = {each.name: each.resource_id for each in known} | {str(each.resource_id): each.resource_id for each in known}
    missing = [name for name in names if name not in ids and name.lower() not in ids]
    if missing:
        raise NotFound(
            f"There is no resource {', '.join(missing[:5])}.{did_you_mean(missing[0], (each.name for each in known))}",
            code="AI_RESOURCE_NOT_FOUND",
            details={"resources": missing[:100]},
        )
    return frozenset(ids.get(name) or ids[name.lower()] for name in names)
