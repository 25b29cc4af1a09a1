"""What providers told of their limits: one row a model of a connection."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from scheduler.domain.work import Limit
from scheduler.ports.learned import LearnedModel
from scheduler.store.database import Database
from scheduler.store.rows import json_text
from scheduler.store.statements import load_statements

_SQL = load_statements("learned_limit")
_limits = msgspec.json.Decoder(tuple[Limit, ...])


class PostgresLearnedLimitStore:
    """The part of ports.setup.SetupStore that implements ports.learned.LearnedLimitStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def learn_limits(self, learned: Sequence[LearnedModel]) -> None:
        """Replace what is stored of these; see the port."""
        if learned:
            await self._database.execute(
                _SQL["learn_limits"],
                [each.connection_id for each in learned],
                [each.model for each in learned],
                [json_text(each.limits) for each in learned],
                [each.places for each in learned],
            )

    async def learned_limits(self, connection_ids: Sequence[UUID]) -> Sequence[LearnedModel]:
        """What is known of the models of these connections."""
        rows = await self._database.fetch(_SQL["learned_limits"], list(connection_ids))
        return [
            LearnedModel(row["connection_id"], row["model"], _limits.decode(row["limits"]), row["places"])
            for row in rows
        ]
