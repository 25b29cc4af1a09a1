"""Connections and the resources that stand on them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from scheduler.domain.errors import InvariantBroken, NotFound
from scheduler.domain.setup import Connection, Resource
from scheduler.store.database import Database
from scheduler.store.setup_failures import explained, still_used
from scheduler.store.setup_rows import connection_columns, connection_of, resource_columns, resource_of
from scheduler.store.statements import load_statements

_SQL = load_statements("setup")


class PostgresOfferStore:
    """The part of ports.setup.SetupStore that deals with connections and resources."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def offers_stamp(self) -> str:
        """Another text after any change of connections or resources."""
        return str(await self._database.fetchval(_SQL["offers_stamp"]))

    async def connections(self, environment_id: UUID | None = None) -> Sequence[Connection]:
        """Of one environment or all, by name."""
        return [connection_of(row) for row in await self._database.fetch(_SQL["connections"], environment_id)]

    async def connection(self, environment_id: UUID, connection_id: UUID) -> Connection | None:
        """One, or None."""
        row = await self._database.fetchrow(_SQL["connection"], environment_id, connection_id)
        return None if row is None else connection_of(row)

    async def put_connection(self, connection: Connection, *, create: bool) -> Connection:
        """Create or replace it; see the port."""
        statement = _SQL["create_connection" if create else "update_connection"]
        async with self._database.connection() as session:
            with explained("ai-connection"):
                row = await session.fetchrow(statement, *connection_columns(connection))
        if row is None:
            raise NotFound("The connection does not exist.", code="AI_CONNECTION_NOT_FOUND")
        return connection_of(row)

    async def delete_connection(self, environment_id: UUID, connection_id: UUID) -> bool:
        """False when it does not exist. Conflict while a resource targets it."""
        async with self._database.connection() as session:
            try:
                status = await session.execute(_SQL["delete_connection"], environment_id, connection_id)
            except asyncpg.ForeignKeyViolationError:
                users = await session.fetch(_SQL["users_of_connection"], environment_id, connection_id)
                raise still_used("ai-connection", users) from None
        return status != "DELETE 0"

    async def resources(self, environment_id: UUID | None = None) -> Sequence[Resource]:
        """Of one environment or all, by name."""
        return [resource_of(row) for row in await self._database.fetch(_SQL["resources"], environment_id)]

    async def resource(self, environment_id: UUID, resource_id: UUID) -> Resource | None:
        """One, or None."""
        row = await self._database.fetchrow(_SQL["resource"], environment_id, resource_id)
        return None if row is None else resource_of(row)

    async def put_resource(self, resource: Resource, *, create: bool) -> Resource:
        """Create or replace it with its targets; version and times are the store's."""
        statement = _SQL["create_resource" if create else "update_resource"]
        environment_id, resource_id = resource.environment_id, resource.resource_id
        async with self._database.transaction() as session:
            with explained("ai-resource"):
                if await session.fetchval(statement, *resource_columns(resource)) is None:
                    raise NotFound("The resource does not exist.", code="AI_RESOURCE_NOT_FOUND")
                await session.execute(_SQL["clear_targets"], resource_id)
                await session.execute(
                    _SQL["add_targets"],
                    environment_id,
                    resource_id,
                    [target.connection_id for target in resource.targets],
                    [target.model for target in resource.targets],
                )
            row = await session.fetchrow(_SQL["resource"], environment_id, resource_id)
        if row is None:
            raise InvariantBroken(f"resource {resource_id} vanished in its own transaction")
        return resource_of(row)

    async def delete_resource(self, environment_id: UUID, resource_id: UUID) -> bool:
        """False when it does not exist. Conflict while a key names it or a batch runs on it."""
        async with self._database.transaction() as session:
            if await session.fetchval(_SQL["lock_resource"], environment_id, resource_id) is None:
                return False
            if users := await session.fetch(_SQL["users_of_resource"], environment_id, resource_id):
                raise still_used("ai-resource", users)
            await session.execute(_SQL["delete_resource"], environment_id, resource_id)
        return True
