"""Create, change and delete set-up objects: checked, stored, and carried to the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar
from uuid import UUID, uuid4

from msgspec import UnsetType

from scheduler.domain.errors import NotFound
from scheduler.domain.setup import ApiKey, Connection, Environment, Resource, Workspace
from scheduler.ports.store import Store
from scheduler.services.callers.keys import Authenticator, MadeKey, make_key
from scheduler.services.callers.tenants import Address, Tenants
from scheduler.services.reading.problems import refuse
from scheduler.services.setup.bodies import (
    ApiKeyBody,
    ConnectionBody,
    EnvironmentBody,
    ResourceBody,
    WorkspaceBody,
    given,
)
from scheduler.services.setup.effects import SetupEffects
from scheduler.services.setup.forms import ConnectionForm, fill_key, fill_resource
from scheduler.services.setup.parked_connections import ParkedConnections

_Named = TypeVar("_Named", Connection, Resource)


def _missing(what: str, code: str) -> NotFound:
    return NotFound(f"There is no such {what}.", code=code)


def _named(
    name_or_id: str, address: Address, objects: Iterable[_Named], id_of: Callable[[_Named], UUID]
) -> _Named | None:
    by_name = {each.name: each for each in objects if each.workspace_id == address.workspace_id}
    by_id = {str(id_of(each)): each for each in by_name.values()}
    return by_id.get(name_or_id.lower()) or by_name.get(name_or_id)


class SetupObjects:
    """All writes of set-up objects, whoever asks for them: the API or a configuration file.

    create_* raise NotFound for a missing parent and Conflict ALREADY_EXISTS for a taken name or id; update_* and
    delete_* raise NotFound; delete_* also Conflict INVALID_STATE while others refer to the object.
    """

    def __init__(
        self,
        store: Store,
        tenants: Tenants,
        form: ConnectionForm,
        effects: SetupEffects,
        authenticator: Authenticator | None = None,
        parked: ParkedConnections | None = None,
    ) -> None:
        self._setup = store.setup
        self._tenants = tenants
        self._form = form
        self._effects = effects
        self._authenticator = authenticator
        self._parked = parked

    async def create_workspace(self, body: WorkspaceBody) -> Workspace:
        """A new tenant."""
        if isinstance(body.name, UnsetType):
            raise refuse("name", "is required")
        return await self._setup.put_workspace(given(body.workspace_id, uuid4()), body.name, create=True)

    async def update_workspace(self, workspace_id: UUID, body: WorkspaceBody) -> Workspace:
        """Rename it."""
        before = await self.workspace(workspace_id)
        return await self._setup.put_workspace(workspace_id, given(body.name, before.name), create=False)

    async def workspace(self, workspace_id: UUID) -> Workspace:
        """One. Raises NotFound."""
        found = await self._setup.workspace(workspace_id)
        if found is None:
            raise _missing("workspace", "WORKSPACE_NOT_FOUND")
        return found

    async def delete_workspace(self, workspace_id: UUID) -> None:
        """Delete an empty one."""
        if not await self._setup.delete_workspace(workspace_id):
            raise _missing("workspace", "WORKSPACE_NOT_FOUND")

    async def create_environment(self, workspace_id: UUID, body: EnvironmentBody) -> Environment:
        """A new stage of a tenant."""
        if isinstance(body.name, UnsetType):
            raise refuse("name", "is required")
        await self._tenants.require_workspace(workspace_id)
        environment_id = given(body.environment_id, uuid4())
        return await self._setup.put_environment(workspace_id, environment_id, body.name, create=True)

    async def update_environment(self, address: Address, body: EnvironmentBody) -> Environment:
        """Rename it."""
        before = await self._tenants.environment(address.workspace_id, address.environment_id)
        name = given(body.name, before.name)
        return await self._setup.put_environment(address.workspace_id, address.environment_id, name, create=False)

    async def delete_environment(self, address: Address) -> None:
        """Delete an empty one."""
        await self._tenants.environment(address.workspace_id, address.environment_id)
        if not await self._setup.delete_environment(address.environment_id):
            raise _missing("environment", "ENVIRONMENT_NOT_FOUND")

    async def connection(self, address: Address, connection_id: UUID) -> Connection:
        """One. Raises NotFound."""
        found = await self._setup.connection(address.environment_id, connection_id)
        if found is None or found.workspace_id != address.workspace_id:
            raise _missing("connection", "AI_CONNECTION_NOT_FOUND")
        return found

    async def named_connection(self, address: Address, name_or_id: str) -> Connection:
        """One by its id or its name; an id goes before a name that looks like one. Raises NotFound."""
        connections = await self._setup.connections(address.environment_id)
        found = _named(name_or_id, address, connections, lambda each: each.connection_id)
        if found is None:
            raise _missing("connection", "AI_CONNECTION_NOT_FOUND")
        return found

    async def create_connection(self, address: Address, body: ConnectionBody) -> Connection:
        """A new provider account."""
        filled = self._form.fill(address, body, None)
        await self._tenants.environment(address.workspace_id, address.environment_id)
        connection = await self._setup.put_connection(filled, create=True)
        await self._effects.connection_changed(connection)
        return connection

    async def update_connection(self, address: Address, connection_id: UUID, body: ConnectionBody) -> Connection:
        """Change what the body names. A parked one is tried again when its key or where it leads to is another."""
        before = await self.connection(address, connection_id)
        connection = await self._setup.put_connection(self._form.fill(address, body, before), create=False)
        await self._effects.connection_changed(connection)
        renewed = (before.config, before.secret_config) != (connection.config, connection.secret_config)
        if renewed and self._parked is not None:
            await self._parked.resume(connection)
        return connection

    async def delete_connection(self, address: Address, connection_id: UUID) -> None:
        """Delete one that no resource targets."""
        await self.connection(address, connection_id)
        if not await self._setup.delete_connection(address.environment_id, connection_id):
            raise _missing("connection", "AI_CONNECTION_NOT_FOUND")

    async def resource(self, address: Address, resource_id: UUID) -> Resource:
        """One. Raises NotFound."""
        found = await self._setup.resource(address.environment_id, resource_id)
        if found is None or found.workspace_id != address.workspace_id:
            raise _missing("resource", "AI_RESOURCE_NOT_FOUND")
        return found

    async def named_resource(self, address: Address, name_or_id: str) -> Resource:
        """One by its id or its name, as an item names it. Raises NotFound."""
        resources = await self._setup.resources(address.environment_id)
        found = _named(name_or_id, address, resources, lambda each: each.resource_id)
        if found is None:
            raise _missing("resource", "AI_RESOURCE_NOT_FOUND")
        return found

    async def create_resource(self, address: Address, body: ResourceBody) -> Resource:
        """A new name for callers to use."""
        if isinstance(body.model, UnsetType):
            raise refuse("model", "is required")
        await self._tenants.environment(address.workspace_id, address.environment_id)
        filled = await fill_resource(self._setup, address, body, None)
        resource = await self._setup.put_resource(filled, create=True)
        await self._effects.resource_changed(resource)
        return resource

    async def update_resource(self, address: Address, resource_id: UUID, body: ResourceBody) -> Resource:
        """Change what the body names."""
        before = await self.resource(address, resource_id)
        filled = await fill_resource(self._setup, address, body, before)
        resource = await self._setup.put_resource(filled, create=False)
        await self._effects.resource_changed(resource)
        return resource

    async def delete_resource(self, address: Address, resource_id: UUID) -> None:
        """Delete one that no key names and no batch runs on."""
        await self.resource(address, resource_id)
        if not await self._setup.delete_resource(address.environment_id, resource_id):
            raise _missing("resource", "AI_RESOURCE_NOT_FOUND")

    async def api_key(self, address: Address, api_key_id: UUID) -> ApiKey:
        """One, without its text. Raises NotFound."""
        found = await self._setup.api_key(address.environment_id, api_key_id)
        if found is None or found.workspace_id != address.workspace_id:
            raise _missing("API key", "API_KEY_NOT_FOUND")
        return found

    async def create_api_key(
        self, address: Address, body: ApiKeyBody, chosen: MadeKey | None = None
    ) -> tuple[ApiKey, str]:
        """(key, its text, which is not kept anywhere). chosen: a text that an administrator brings."""
        if isinstance(body.name, UnsetType):
            raise refuse("name", "is required")
        await self._tenants.environment(address.workspace_id, address.environment_id)
        made = chosen or make_key()
        filled = await fill_key(self._setup, address, body, None, made)
        key = await self._setup.put_api_key(filled, made.key_hash, create=True)
        await self._key_changed(key)
        return key, made.text

    async def update_api_key(
        self, address: Address, api_key_id: UUID, body: ApiKeyBody, chosen: MadeKey | None = None
    ) -> ApiKey:
        """Change what the body names; the text stays unless `chosen`."""
        before = await self.api_key(address, api_key_id)
        filled = await fill_key(self._setup, address, body, before, chosen)
        key = await self._setup.put_api_key(filled, chosen.key_hash if chosen else None, create=False)
        await self._key_changed(key)
        return key

    async def delete_api_key(self, address: Address, api_key_id: UUID) -> None:
        """It is refused within two seconds everywhere, here at once."""
        await self.api_key(address, api_key_id)
        if not await self._setup.delete_api_key(address.environment_id, api_key_id):
            raise _missing("API key", "API_KEY_NOT_FOUND")
        if self._authenticator is not None:
            self._authenticator.forget()

    async def _key_changed(self, key: ApiKey) -> None:
        if self._authenticator is not None:
            self._authenticator.forget()
        await self._effects.key_changed(key)
