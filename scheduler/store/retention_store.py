"""Forgets what ended long ago: rows of batches first, so that nobody sees them any more, then whole partitions."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from scheduler.ports.retention import Forgotten
from scheduler.store.database import Database
from scheduler.store.statements import load_statements

BATCHES_A_STEP = 200
ROWS_A_STEP = 5_000
TABLES = ("items", "item_runs", "outcomes", "events", "deliveries")

_SQL = load_statements("retention")


class PostgresRetentionStore:
    """Implements ports.retention.RetentionStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget(self, before: datetime) -> Forgotten:
        """Forget what ended; see the port."""
        batches = 0
        while gone := await self._database.execute(_SQL["forget_batches"], before, BATCHES_A_STEP):
            batches += gone
        while await self._database.execute(_SQL["forget_submissions"], before, BATCHES_A_STEP):
            pass
        for table in TABLES:
            while await self._database.fetchval(_SQL["sweep_net"], table, before, ROWS_A_STEP):
                pass
        dropped = held = 0
        for row in await self._database.fetch(_SQL["old_partitions"], before):
            if await self._drop(row["parent"], row["week"]):
                dropped += 1
            else:
                held += 1
        return Forgotten(batches, dropped, held)

    async def _drop(self, table: str, week: datetime) -> bool:
        async with self._database.connection() as connection:
            try:
                return bool(await connection.fetchval(_SQL["drop_partition"], table, week))
            except (asyncpg.LockNotAvailableError, asyncpg.UndefinedTableError):
                return False  # somebody reads it, or another pruner dropped it between the look and the drop
