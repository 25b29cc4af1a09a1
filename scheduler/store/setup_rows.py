"""From rows to the domain: what administrators set up."""

from __future__ import annotations

from base64 import b64decode
from uuid import UUID

from scheduler.domain.priority import Priority
from scheduler.domain.setup import ApiKey, Connection, Environment, Provider, Resource, Target, Workspace
from scheduler.store.rows import Row, capacities_of, json_text, json_value


def workspace_of(row: Row) -> Workspace:
    """A row of `workspaces`."""
    return Workspace(row["workspace_id"], row["name"], row["created_at"], row["updated_at"])


def environment_of(row: Row) -> Environment:
    """A row of `environments`."""
    return Environment(
        workspace_id=row["workspace_id"],
        environment_id=row["environment_id"],
        name=row["name"],
        shard=row["shard"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def connection_of(row: Row) -> Connection:
    """A row of `connections`."""
    models = row["allowed_models"]
    return Connection(
        workspace_id=row["workspace_id"],
        environment_id=row["environment_id"],
        connection_id=row["connection_id"],
        name=row["name"],
        description=row["description"],
        provider=Provider(row["provider"]),
        profile=row["profile"],
        config=json_value(row["config"]),
        secret_config={k: b64decode(v) for k, v in json_value(row["secret_config"]).items()},
        allowed_models=None if models is None else tuple(json_value(models)),
        capacity=capacities_of(row["capacity"]),
        max_in_flight=row["max_in_flight"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        direct_share=row["direct_share"],
    )


def connection_columns(connection: Connection) -> tuple[object, ...]:
    """The parameters of create_connection and update_connection."""
    models = connection.allowed_models
    return (
        connection.workspace_id,
        connection.environment_id,
        connection.connection_id,
        connection.name,
        connection.description,
        connection.provider.value,
        connection.profile,
        json_text(connection.config),
        json_text(connection.secret_config),
        None if models is None else json_text(models),
        json_text(connection.capacity),
        connection.max_in_flight,
        connection.direct_share,
    )


def resource_of(row: Row) -> Resource:
    """A row of `resources` with its targets."""
    targets = zip(row["connection_ids"] or (), row["models"] or (), strict=True)
    return Resource(
        workspace_id=row["workspace_id"],
        environment_id=row["environment_id"],
        resource_id=row["resource_id"],
        name=row["name"],
        description=row["description"],
        targets=tuple(Target(connection_id, model) for connection_id, model in targets),
        spill=row["spill"],
        capacity=capacities_of(row["capacity"]),
        enforce_capacity=row["enforce_capacity"],
        max_in_flight=row["max_in_flight"],
        timeout_ms=row["timeout_ms"],
        max_retries=row["max_retries"],
        priority=Priority(row["priority"]),
        default_args=json_value(row["default_args"]),
        likely_output_tokens=row["likely_output_tokens"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def resource_columns(resource: Resource) -> tuple[object, ...]:
    """The parameters of create_resource and update_resource."""
    return (
        resource.workspace_id,
        resource.environment_id,
        resource.resource_id,
        resource.name,
        resource.description,
        resource.spill,
        json_text(resource.capacity),
        resource.enforce_capacity,
        resource.max_in_flight,
        resource.timeout_ms,
        resource.max_retries,
        resource.priority.value,
        json_text(resource.default_args),
    )


def api_key_of(row: Row) -> ApiKey:
    """A row of `api_keys`."""
    resources: list[UUID] | None = row["resources"]
    return ApiKey(
        workspace_id=row["workspace_id"],
        environment_id=row["environment_id"],
        api_key_id=row["api_key_id"],
        name=row["name"],
        description=row["description"],
        enabled=row["enabled"],
        resources=None if resources is None else frozenset(resources),
        labels=tuple(json_value(row["labels"])),
        capacity=capacities_of(row["capacity"]),
        max_in_flight=row["max_in_flight"],
        scopes=frozenset(json_value(row["scopes"])),
        masked=row["masked"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def api_key_columns(key: ApiKey, key_hash: bytes | None) -> tuple[object, ...]:
    """The parameters of create_api_key and update_api_key."""
    return (
        key.workspace_id,
        key.environment_id,
        key.api_key_id,
        key.name,
        key.description,
        key.enabled,
        None if key.resources is None else sorted(key.resources),
        json_text(key.labels),
        json_text(key.capacity),
        key.max_in_flight,
        json_text(sorted(key.scopes)),
        key.masked,
        key_hash,
    )
