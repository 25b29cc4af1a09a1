"""A set-up applied in memory first: what is wrong with a file shows before anything of it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from scheduler.domain.pools import Pool, PoolDefinition
from scheduler.domain.setup import ApiKey, Connection, Environment, Resource, Workspace
from scheduler.ports.setup import SetupStore
from scheduler.ports.store import Store
from scheduler.services.setup.effects import SetupEffects


class RehearsedSetup:
    """What applying a file asks of a SetupStore. Reads see what is stored and what was put here since; nothing that
    is put here is stored, or told to the engine."""

    def __init__(self, stored: SetupStore) -> None:
        self._stored = stored
        self._workspaces: dict[UUID, Workspace] = {}
        self._environments: dict[UUID, Environment] = {}
        self._connections: dict[UUID, Connection] = {}
        self._resources: dict[UUID, Resource] = {}
        self._api_keys: dict[UUID, ApiKey] = {}

    async def workspaces(self) -> Sequence[Workspace]:
        stored = {each.workspace_id: each for each in await self._stored.workspaces()}
        return list((stored | self._workspaces).values())

    async def workspace(self, workspace_id: UUID) -> Workspace | None:
        return self._workspaces.get(workspace_id) or await self._stored.workspace(workspace_id)

    async def put_workspace(self, workspace_id: UUID, name: str, **_put: bool) -> Workspace:
        now = datetime.now(UTC)
        self._workspaces[workspace_id] = Workspace(workspace_id, name, now, now)
        return self._workspaces[workspace_id]

    async def environments(self, workspace_id: UUID) -> Sequence[Environment]:
        stored = {each.environment_id: each for each in await self._stored.environments(workspace_id)}
        put = {key: each for key, each in self._environments.items() if each.workspace_id == workspace_id}
        return list((stored | put).values())

    async def environment(self, environment_id: UUID) -> Environment | None:
        return self._environments.get(environment_id) or await self._stored.environment(environment_id)

    async def put_environment(self, workspace_id: UUID, environment_id: UUID, name: str, **_put: bool) -> Environment:
        now = datetime.now(UTC)
        self._environments[environment_id] = Environment(workspace_id, environment_id, name, 0, now, now)
        return self._environments[environment_id]

    async def connections(self, environment_id: UUID) -> Sequence[Connection]:
        stored = {each.connection_id: each for each in await self._stored.connections(environment_id)}
        return list((stored | _of(environment_id, self._connections)).values())

    async def connection(self, environment_id: UUID, connection_id: UUID) -> Connection | None:
        return next(
            (each for each in await self.connections(environment_id) if each.connection_id == connection_id), None
        )

    async def put_connection(self, connection: Connection, **_put: bool) -> Connection:
        self._connections[connection.connection_id] = connection
        return connection

    async def resources(self, environment_id: UUID) -> Sequence[Resource]:
        stored = {each.resource_id: each for each in await self._stored.resources(environment_id)}
        return list((stored | _of(environment_id, self._resources)).values())

    async def resource(self, environment_id: UUID, resource_id: UUID) -> Resource | None:
        return next((each for each in await self.resources(environment_id) if each.resource_id == resource_id), None)

    async def put_resource(self, resource: Resource, **_put: bool) -> Resource:
        self._resources[resource.resource_id] = resource
        return resource

    async def api_keys(self, environment_id: UUID) -> Sequence[ApiKey]:
        stored = {each.api_key_id: each for each in await self._stored.api_keys(environment_id)}
        return list((stored | _of(environment_id, self._api_keys)).values())

    async def api_key(self, environment_id: UUID, api_key_id: UUID) -> ApiKey | None:
        return next((each for each in await self.api_keys(environment_id) if each.api_key_id == api_key_id), None)

    async def api_key_by_hash(self, key_hash: bytes) -> ApiKey | None:
        return await self._stored.api_key_by_hash(key_hash)

    async def put_api_key(self, key: ApiKey, _key_hash: bytes | None, **_put: bool) -> ApiKey:
        self._api_keys[key.api_key_id] = key
        return key

    async def pool_definitions(self, environment_id: UUID) -> Sequence[PoolDefinition]:
        return await self._stored.pool_definitions(environment_id)

    async def put_pools(self, workspace_id: UUID, environment_id: UUID, pools: Sequence[Pool]) -> PoolDefinition:
        now = datetime.now(UTC)
        return PoolDefinition(workspace_id, environment_id, tuple(pools), 1, now, now)


def _of(environment_id: UUID, objects: dict[UUID, Any]) -> dict[UUID, Any]:
    return {key: each for key, each in objects.items() if each.environment_id == environment_id}


@dataclass(frozen=True, slots=True)
class RehearsedStore:
    """As much of a Store as set-up objects are made with."""

    setup: SetupStore


def rehearsed(store: Store) -> Store:
    """A store whose set-up reads are those of `store` and whose writes last as long as it does. Of use for applying
    a file and for nothing else."""
    setup = cast(SetupStore, RehearsedSetup(store.setup))
    return cast(Store, RehearsedStore(setup))


class NoEffects(SetupEffects):
    """Tells the engine nothing."""

    def __init__(self) -> None:
        """It needs nothing."""

    async def connection_changed(self, connection: Connection) -> None:
        """Nothing."""

    async def resource_changed(self, resource: Resource) -> None:
        """Nothing."""

    async def pools_changed(self, definition: PoolDefinition) -> None:
        """Nothing."""

    async def key_changed(self, key: ApiKey) -> None:
        """Nothing."""
