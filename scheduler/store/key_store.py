"""API keys: never their text, only its hash."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from scheduler.domain.errors import InvariantBroken, NotFound
from scheduler.domain.setup import ApiKey
from scheduler.store.database import Database
from scheduler.store.setup_failures import explained
from scheduler.store.setup_rows import api_key_columns, api_key_of
from scheduler.store.statements import load_statements

_SQL = load_statements("setup")


class PostgresKeyStore:
    """The part of ports.setup.SetupStore that deals with API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def api_keys(self, environment_id: UUID | None = None) -> Sequence[ApiKey]:
        """Of one environment or all, by name."""
        return [api_key_of(row) for row in await self._database.fetch(_SQL["api_keys"], environment_id)]

    async def api_key(self, environment_id: UUID, api_key_id: UUID) -> ApiKey | None:
        """One, or None."""
        row = await self._database.fetchrow(_SQL["api_key"], environment_id, api_key_id)
        return None if row is None else api_key_of(row)

    async def live_callers(self, shard: int, api_key_id: UUID) -> Sequence[str]:
        """From where the open batches of a key came; "" where that was not noted."""
        return [row["caller"] for row in await self._database.fetch(_SQL["live_callers"], shard, api_key_id)]

    async def api_key_by_hash(self, key_hash: bytes) -> ApiKey | None:
        """The key whose text has this SHA-256, or None."""
        row = await self._database.fetchrow(_SQL["api_key_by_hash"], key_hash)
        return None if row is None else api_key_of(row)

    async def put_api_key(self, key: ApiKey, key_hash: bytes | None, *, create: bool) -> ApiKey:
        """Create or replace it; key_hash None on update keeps the secret and its masked form."""
        if create and key_hash is None:
            raise InvariantBroken("a new key needs the hash of its text")
        statement = _SQL["create_api_key" if create else "update_api_key"]
        async with self._database.connection() as connection:
            with explained("api-key"):
                row = await connection.fetchrow(statement, *api_key_columns(key, key_hash))
        if row is None:
            raise NotFound("The API key does not exist.", code="API_KEY_NOT_FOUND")
        return api_key_of(row)

    async def delete_api_key(self, environment_id: UUID, api_key_id: UUID) -> bool:
        """False when it does not exist. Batches made with it go on."""
        return await self._database.execute(_SQL["delete_api_key"], environment_id, api_key_id) > 0
