"""Tenant addresses: whether a workspace and environment exist, and where an environment lives."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from scheduler.domain.errors import NotFound
from scheduler.domain.ids import shard_of
from scheduler.domain.setup import Environment
from scheduler.ports.store import Store
from scheduler.services.callers.keys import Admin, Principal


@dataclass(frozen=True, slots=True)
class Address:
    """Of an environment, and so of all that belongs to it."""

    workspace_id: UUID
    environment_id: UUID


class Tenants:
    """Looks tenants up; the shard of an environment never changes, so it is computed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shards: int | None = None

    async def shard_of(self, environment_id: UUID) -> int:
        """The shard that an environment lives on."""
        if self._shards is None:
            self._shards = await self._store.shards.shards()
        return shard_of(environment_id, self._shards)

    async def require_workspace(self, workspace_id: UUID) -> None:
        """Raise NotFound WORKSPACE_NOT_FOUND unless it exists."""
        if await self._store.setup.workspace(workspace_id) is None:
            raise NotFound("There is no such workspace.", code="WORKSPACE_NOT_FOUND")

    async def environment(self, workspace_id: UUID, environment_id: UUID) -> Environment:
        """The environment. Raises NotFound WORKSPACE_NOT_FOUND or ENVIRONMENT_NOT_FOUND."""
        found = await self._store.setup.environment(environment_id)
        if found is not None and found.workspace_id == workspace_id:
            return found
        await self.require_workspace(workspace_id)
        raise NotFound("There is no such environment.", code="ENVIRONMENT_NOT_FOUND")

    async def require(self, principal: Principal, workspace_id: UUID, environment_id: UUID) -> None:
        """Like `environment`, without a query for the holder of a key, whose tenant exists."""
        if isinstance(principal, Admin):
            await self.environment(workspace_id, environment_id)
