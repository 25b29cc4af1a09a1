"""What workers learned from answers: one figure a resource, and one a batch on it."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.ports.learned import LearnedOutput
from scheduler.store.database import Database
from scheduler.store.statements import load_statements

_SQL = load_statements("setup")


class PostgresLearnedOutputStore:
    """The part of ports.setup.SetupStore that implements ports.learned.LearnedOutputStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def learn_outputs(self, learned: Sequence[LearnedOutput]) -> None:
        """Blend these figures into those that are stored; see the port."""
        if learned:
            await self._database.execute(
                _SQL["learn_outputs"],
                [each.resource_id for each in learned],
                [each.batch_id for each in learned],
                [each.quantile_tokens for each in learned],
                [each.seen for each in learned],
            )
