"""What is used of quotas: one row a quota of a budget."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.domain.quota import QuotaUse
from scheduler.store.database import Database
from scheduler.store.statements import load_statements

_SQL = load_statements("quota")


class PostgresQuotaStore:
    """Implements ports.quotas.QuotaStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_quotas(self, uses: Sequence[QuotaUse]) -> None:
        """Store these; see the port."""
        # One row a quota: INSERT … ON CONFLICT refuses to touch a row twice.
        newest = {(use.budget_id, use.code): use for use in sorted(uses, key=lambda use: use[2:])}
        if newest:
            await self._database.execute(_SQL["keep_quotas"], *map(list, zip(*newest.values(), strict=True)))

    async def quotas(self, budget_ids: Sequence[str]) -> Sequence[QuotaUse]:
        """What is stored of these budgets."""
        return [QuotaUse(*row) for row in await self._database.fetch(_SQL["quotas"], list(budget_ids))]

    async def forget_quotas(self) -> int:
        """Drop what ended long ago."""
        return await self._database.execute(_SQL["forget_quotas"])
