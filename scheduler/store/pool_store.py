"""Pools of resources: one row an environment."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from scheduler.domain.errors import InvariantBroken
from scheduler.domain.pools import Pool, PoolDefinition
from scheduler.store.database import Database
from scheduler.store.rows import Row, json_text
from scheduler.store.statements import load_statements

_SQL = load_statements("pool")
_pools = msgspec.json.Decoder(tuple[Pool, ...])


class PostgresPoolStore:
    """The part of ports.setup.SetupStore that implements ports.pools.PoolStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pool_definitions(self, environment_id: UUID | None = None) -> Sequence[PoolDefinition]:
        """Of one environment or all."""
        return [_definition(row) for row in await self._database.fetch(_SQL["pool_definitions"], environment_id)]

    async def put_pools(self, workspace_id: UUID, environment_id: UUID, pools: Sequence[Pool]) -> PoolDefinition:
        """Replace an environment's pools; see the port."""
        row = await self._database.fetchrow(_SQL["put_pools"], workspace_id, environment_id, json_text(pools))
        if row is None:
            raise InvariantBroken("an upsert returns its row")
        return _definition(row)


def _definition(row: Row) -> PoolDefinition:
    return PoolDefinition(
        row["workspace_id"],
        row["environment_id"],
        _pools.decode(row["pools"]),
        row["version"],
        row["created_at"],
        row["updated_at"],
    )
