"""The declarative set-up: a TOML file that says what shall exist. Applying it again changes nothing.

What the file does not mention is left alone. Objects are found by id where the file gives one, else by name within
their parent. Secrets may be given as "env:NAME". Keys are stored as hashes, so a made key is told only once.

A file is applied in memory first: what is wrong with it is told at once, all of it, before anything is stored.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from msgspec import UNSET, UnsetType

from scheduler.domain.errors import BrimError, Conflict, Invalid, NotFound
from scheduler.domain.setup import ApiKey, Connection, Resource
from scheduler.ports.setup import SetupStore
from scheduler.ports.store import Store
from scheduler.services.callers.keys import MadeKey, hash_key, key_from
from scheduler.services.callers.tenants import Address, Tenants
from scheduler.services.core import Core
from scheduler.services.setup.bodies import (
    ApiKeyBody,
    ConnectionBody,
    EnvironmentBody,
    ResourceBody,
    WorkspaceBody,
)
from scheduler.services.setup.effects import SetupEffects
from scheduler.services.setup.forms import ConnectionForm, fill_key, fill_resource
from scheduler.services.setup.objects import SetupObjects
from scheduler.services.setup.parked_connections import ParkedConnections
from scheduler.services.setup.pools import PoolBody, PoolDefinitionBody, Pools
from scheduler.services.setup.rehearsal import NoEffects, rehearsed
from scheduler.services.setup.toml_file import (
    EnvironmentTable,
    SetupFile,
    Table,
    WorkspaceTable,
    camel,
    converted,
    in_file,
    parsed,
    placed,
    rename,
    tables,
    target_of,
    together,
)
from scheduler.services.shards.access import Shards

_ENV = "env:"
_LEAST_KEY_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class AppliedObject:
    """One object of the file. kind: "workspace" … "api_key". change: "created" | "updated" | "unchanged".

    key: the text of an API key, when it is known: it was made now, or the file holds it. made: it was made now.
    """

    kind: str
    name: str
    object_id: UUID
    change: str
    key: str | None = field(default=None, repr=False)
    made: bool = False


@dataclass(frozen=True, slots=True)
class AppliedConfiguration:
    """Everything that the file mentions, in its order: an environment follows its workspace, and so on."""

    objects: tuple[AppliedObject, ...]


async def apply_configuration(core: Core, text: str, environ: Mapping[str, str] = os.environ) -> AppliedConfiguration:
    """Make what the TOML text says exist. environ: where "env:NAME" is looked up.

    Raises Invalid, NotFound or Conflict naming the place in the file, with all that is wrong in `details["errors"]`,
    and then nothing is changed; Unavailable when Postgres is down, and then what came before stays applied.
    """
    file = parsed(text)
    form = ConnectionForm(core.vault, allow_noop=core.settings.allow_noop)
    await _Applying(rehearsed(core.store), NoEffects(), form, environ).apply(file)
    tenants, shards = Tenants(core.store), Shards(core.recovery)
    effects = SetupEffects(core.store.setup, core.engine, tenants, shards)
    parked = ParkedConnections(core.store, core.engine, tenants, shards, lambda: datetime.now(UTC))
    return await _Applying(core.store, effects, form, environ, parked).apply(file)


class _Applying:
    """One application of one file. It goes on after what is wrong, so that all of it can be told: rehearse it first."""

    def __init__(
        self,
        store: Store,
        effects: SetupEffects,
        form: ConnectionForm,
        environ: Mapping[str, str],
        parked: ParkedConnections | None = None,
    ) -> None:
        tenants = Tenants(store)
        self._setup: SetupStore = store.setup
        self._objects = SetupObjects(store, tenants, form, effects, parked=parked)
        self._pools = Pools(self._setup, tenants, effects)
        self._form = form
        self._environ = environ
        self._applied: list[AppliedObject] = []
        self._faults: list[BrimError] = []

    async def apply(self, file: SetupFile) -> AppliedConfiguration:
        for workspace in file.workspace:
            await self._told(f"workspace {workspace.name}", self._workspace(workspace))
        if self._faults:
            raise together(self._faults)
        return AppliedConfiguration(tuple(self._applied))

    async def _told(self, place: str, step: Coroutine[Any, Any, None]) -> None:
        """Keep what is wrong with a part of the file, and go on with the next."""
        try:
            await step
        except (Invalid, NotFound, Conflict) as error:
            self._faults.append(placed(error, place))

    def _note(self, kind: str, name: str, object_id: UUID, change: str, **more: Any) -> None:
        self._applied.append(AppliedObject(kind, name, object_id, change, **more))

    async def _workspace(self, wanted: WorkspaceTable) -> None:
        existing = [(each.workspace_id, each.name) for each in await self._setup.workspaces()]
        found = _find(existing, wanted.id, wanted.name, f"workspace {wanted.name}")
        body = WorkspaceBody(name=wanted.name, workspace_id=wanted.id or UNSET)
        if found is None:
            workspace_id, change = (await self._objects.create_workspace(body)).workspace_id, "created"
        elif found[1] != wanted.name:
            workspace_id, change = (await self._objects.update_workspace(found[0], body)).workspace_id, "updated"
        else:
            workspace_id, change = found[0], "unchanged"
        self._note("workspace", wanted.name, workspace_id, change)
        for environment in wanted.environment:
            place = f"{wanted.name}/{environment.name}"
            await self._told(place, self._environment(workspace_id, environment, place))

    async def _environment(self, workspace_id: UUID, wanted: EnvironmentTable, place: str) -> None:
        existing = [(each.environment_id, each.name) for each in await self._setup.environments(workspace_id)]
        found = _find(existing, wanted.id, wanted.name, f"environment {place}")
        body = EnvironmentBody(name=wanted.name, environment_id=wanted.id or UNSET)
        if found is None:
            created = await self._objects.create_environment(workspace_id, body)
            environment_id, change = created.environment_id, "created"
        elif found[1] != wanted.name:
            await self._objects.update_environment(Address(workspace_id, found[0]), body)
            environment_id, change = found[0], "updated"
        else:
            environment_id, change = found[0], "unchanged"
        self._note("environment", wanted.name, environment_id, change)
        address = Address(workspace_id, environment_id)
        for kind, written, apply in (
            ("connection", wanted.connection, self._connection),
            ("resource", wanted.resource, self._resource),
            ("api_key", wanted.api_key, self._api_key),
        ):
            faults = len(self._faults)
            for position, table in enumerate(written):
                at = f"{place}: {kind}[{position}]"
                await self._told(at, apply(address, table, at))
            if len(self._faults) > faults:
                return  # what refers to a faulty one would only be said to name nothing
        if wanted.pool:
            await self._pool(address, wanted.pool, place)

    async def _pool(self, address: Address, wanted: Sequence[Table], place: str) -> None:
        """The file's pools are all that the environment has."""
        bodies = [
            converted(camel(table), PoolBody, f"{place}: pool[{position}]") for position, table in enumerate(wanted)
        ]
        definition, change = await self._pools.put(address, PoolDefinitionBody(pools=bodies))
        self._note("pools", place, definition.environment_id, change)

    async def _connection(self, address: Address, table: Table, place: str) -> None:
        fields = camel(table)
        rename(fields, "id", "connectionId")
        config = dict(fields.get("config", {}))
        for name in ("baseUrl", "apiKey"):
            if name in fields:
                config[name] = fields.pop(name)
        if config:
            fields["config"] = {name: self._secret(value, f"{place}.{in_file(name)}") for name, value in config.items()}
        body = converted(fields, ConnectionBody, place)
        before = _existing(
            await self._setup.connections(address.environment_id),
            lambda each: each.connection_id,
            body.connection_id,
            body.name,
            place,
        )
        if before is None:
            connection = await self._objects.create_connection(address, body)
            change = "created"
        elif _same_connection(before, self._form.fill(address, body, before)):
            connection, change = before, "unchanged"
        else:
            connection = await self._objects.update_connection(address, before.connection_id, body)
            change = "updated"
        self._note("connection", connection.name, connection.connection_id, change)

    async def _resource(self, address: Address, table: Table, place: str) -> None:
        fields = camel(table)
        rename(fields, "id", "resourceId")
        if "connection" in fields or "model" in fields:
            target = {"connection": fields.pop("connection", None), "model": fields.pop("model", None)}
            fields["model"] = target_of(target, place)
        if "fallback" in fields:
            fields["fallbackModels"] = [
                target_of(camel(each), f"{place}.fallback[{position}]")
                for position, each in enumerate(tables(fields.pop("fallback"), f"{place}.fallback"))
            ]
        body = converted(fields, ResourceBody, place)
        before = _existing(
            await self._setup.resources(address.environment_id),
            lambda each: each.resource_id,
            body.resource_id,
            body.name,
            place,
        )
        if before is None:
            resource = await self._objects.create_resource(address, body)
            change = "created"
        elif _same_resource(before, await fill_resource(self._setup, address, body, before)):
            resource, change = before, "unchanged"
        else:
            resource = await self._objects.update_resource(address, before.resource_id, body)
            change = "updated"
        self._note("resource", resource.name, resource.resource_id, change)

    async def _api_key(self, address: Address, table: Table, place: str) -> None:
        fields = camel(table)
        rename(fields, "id", "apiKeyId")
        chosen = self._chosen(fields.pop("key", None), place)
        body = converted(fields, ApiKeyBody, place)
        before = _existing(
            await self._setup.api_keys(address.environment_id),
            lambda each: each.api_key_id,
            body.api_key_id,
            body.name,
            place,
        )
        text = chosen.text if chosen else None
        if before is None:
            key, text = await self._objects.create_api_key(address, body, chosen)
            self._note("api_key", key.name, key.api_key_id, "created", key=text, made=chosen is None)
            return
        # The stored text is only known by its hash, so a changed one shows by not being found.
        renewed = chosen is not None and not await self._is_text_of(before, chosen)
        filled = await fill_key(self._setup, address, body, before, chosen)
        if not renewed and _same_key(before, filled):
            self._note("api_key", before.name, before.api_key_id, "unchanged", key=text)
            return
        key = await self._objects.update_api_key(address, before.api_key_id, body, chosen)
        self._note("api_key", key.name, key.api_key_id, "updated", key=text)

    async def _is_text_of(self, key: ApiKey, chosen: MadeKey) -> bool:
        found = await self._setup.api_key_by_hash(hash_key(chosen.text))
        return found is not None and found.api_key_id == key.api_key_id

    def _chosen(self, text: object, place: str) -> MadeKey | None:
        if text is None:
            return None
        value = self._secret(text, f"{place}.key")
        if not isinstance(value, str) or len(value) < _LEAST_KEY_CHARACTERS or not value.isascii() or " " in value:
            raise Invalid(f"{place}.key must be an ASCII text of at least {_LEAST_KEY_CHARACTERS} characters")
        return key_from(value)

    def _secret(self, value: object, place: str) -> object:
        """A value, or the environment variable that it names."""
        if not isinstance(value, str) or not value.startswith(_ENV):
            return value
        name = value.removeprefix(_ENV)
        if not self._environ.get(name):
            raise Invalid(f"{place}: the environment variable {name} is not set")
        return self._environ[name]


def _find(existing: Sequence[tuple[UUID, str]], wanted: UUID | None, name: str, what: str) -> tuple[UUID, str] | None:
    """The object with this id, or without one in the file, with this name. Raises Conflict when the name is
    another's."""
    by_name = next((each for each in existing if each[1] == name), None)
    if wanted is None:
        return by_name
    if by_name is not None and by_name[0] != wanted:
        raise Conflict(f"{what} exists already, with the id {by_name[0]}.", code="ALREADY_EXISTS")
    return next((each for each in existing if each[0] == wanted), None)


Named = TypeVar("Named", Connection, Resource, ApiKey)


def _existing(
    objects: Sequence[Named], id_of: Any, wanted: UUID | UnsetType, name: str | UnsetType, place: str
) -> Named | None:
    if isinstance(name, UnsetType):
        raise Invalid(f"{place}.name is required")
    by_id = {id_of(each): each for each in objects}
    found = _find(
        [(object_id, each.name) for object_id, each in by_id.items()],
        None if isinstance(wanted, UnsetType) else wanted,
        name,
        f"{place}: {name}",
    )
    return by_id[found[0]] if found else None


def _same_connection(before: Connection, after: Connection) -> bool:
    return replace(after, version=before.version, created_at=before.created_at, updated_at=before.updated_at) == before


def _same_resource(before: Resource, after: Resource) -> bool:
    return replace(after, version=before.version, created_at=before.created_at, updated_at=before.updated_at) == before


def _same_key(before: ApiKey, after: ApiKey) -> bool:
    same = replace(after, version=before.version, created_at=before.created_at, updated_at=before.updated_at)
    return same == before
