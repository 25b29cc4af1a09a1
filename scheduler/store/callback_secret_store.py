"""Callback secrets that an older version stored in the clear."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from scheduler.domain.batch import CallbackOptions
from scheduler.ports.callback_secrets import ClearCallback
from scheduler.store.database import Database
from scheduler.store.rows import callback_of, json_text
from scheduler.store.statements import load_statements

_SQL = load_statements("callback_secret")


class PostgresCallbackSecretStore:
    """Implements ports.callback_secrets.CallbackSecretStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def in_the_clear(self, limit: int) -> Sequence[ClearCallback]:
        """Batches whose callback is to be sealed."""
        rows = await self._database.fetch(_SQL["in_the_clear"], limit)
        return [ClearCallback(row["batch_id"], callback_of(row["callback"])) for row in rows]

    async def replace(self, batch_id: UUID, callback: CallbackOptions) -> None:
        """Store the sealed form; see the port."""
        await self._database.execute(_SQL["replace_callback"], batch_id, json_text(callback))
