"""Workspaces and environments."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from scheduler.domain.errors import NotFound
from scheduler.domain.ids import shard_of
from scheduler.domain.setup import Environment, Workspace
from scheduler.store.database import Database
from scheduler.store.setup_failures import explained, still_used
from scheduler.store.setup_rows import environment_of, workspace_of
from scheduler.store.statements import load_statements

_SQL = load_statements("setup")
_COUNT_SHARDS = load_statements("shard")["count_shards"]


class PostgresTenantStore:
    """The part of ports.setup.SetupStore that deals with tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def workspaces(self) -> Sequence[Workspace]:
        """All, by name."""
        return [workspace_of(row) for row in await self._database.fetch(_SQL["workspaces"])]

    async def workspace(self, workspace_id: UUID) -> Workspace | None:
        """One, or None."""
        row = await self._database.fetchrow(_SQL["workspace"], workspace_id)
        return None if row is None else workspace_of(row)

    async def put_workspace(self, workspace_id: UUID, name: str, *, create: bool) -> Workspace:
        """Create or rename it."""
        statement = _SQL["create_workspace" if create else "update_workspace"]
        async with self._database.connection() as connection:
            with explained("workspace"):
                row = await connection.fetchrow(statement, workspace_id, name)
        if row is None:
            raise NotFound("The workspace does not exist.", code="WORKSPACE_NOT_FOUND")
        return workspace_of(row)

    async def delete_workspace(self, workspace_id: UUID) -> bool:
        """False when it does not exist. Conflict while it has environments."""
        async with self._database.connection() as connection:
            try:
                status = await connection.execute(_SQL["delete_workspace"], workspace_id)
            except asyncpg.ForeignKeyViolationError:
                users = await connection.fetch(_SQL["users_of_workspace"], workspace_id)
                raise still_used("workspace", users) from None
        return status != "DELETE 0"

    async def environments(self, workspace_id: UUID | None = None) -> Sequence[Environment]:
        """Of one workspace or all, by name."""
        return [environment_of(row) for row in await self._database.fetch(_SQL["environments"], workspace_id)]

    async def environment(self, environment_id: UUID) -> Environment | None:
        """One, or None."""
        row = await self._database.fetchrow(_SQL["environment"], environment_id)
        return None if row is None else environment_of(row)

    async def put_environment(
        self, workspace_id: UUID, environment_id: UUID, name: str, *, create: bool
    ) -> Environment:
        """Create it on its shard, or rename it."""
        async with self._database.connection() as connection:
            with explained("environment"):
                if create:
                    shard = shard_of(environment_id, await connection.fetchval(_COUNT_SHARDS))
                    row = await connection.fetchrow(
                        _SQL["create_environment"], workspace_id, environment_id, name, shard
                    )
                else:
                    row = await connection.fetchrow(_SQL["update_environment"], workspace_id, environment_id, name)
        if row is None:
            raise NotFound("The environment does not exist.", code="ENVIRONMENT_NOT_FOUND")
        return environment_of(row)

    async def delete_environment(self, environment_id: UUID) -> bool:
        """False when it does not exist. Conflict while it has connections, resources, keys or batches."""
        async with self._database.connection() as connection:
            try:
                status = await connection.execute(_SQL["delete_environment"], environment_id)
            except asyncpg.ForeignKeyViolationError:
                users = await connection.fetch(_SQL["users_of_environment"], environment_id)
                raise still_used("environment", users) from None
        return status != "DELETE 0"
