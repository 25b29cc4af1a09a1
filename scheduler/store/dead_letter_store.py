"""Failed items across the batches of an environment."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from scheduler.ports.dead_letters import DeadLetter, DeadLetterFilter, FailedBatch
from scheduler.store.database import Database
from scheduler.store.rows import Row
from scheduler.store.statements import load_statements

_SQL = load_statements("dead_letter")
_LAST_ID = UUID(int=2**128 - 1)


class PostgresDeadLetterStore:
    """Implements ports.dead_letters.DeadLetterStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, environment_id: UUID, which: DeadLetterFilter, *, after: tuple[UUID, int] | None, limit: int
    ) -> Sequence[DeadLetter]:
        """Failed items; see the port."""
        batch_id, seq = after or (_LAST_ID, 0)
        rows = await self._database.fetch(
            _SQL["dead_letters"],
            environment_id,
            which.error_code,
            which.resource_id,
            which.batch_id,
            batch_id,
            seq,
            limit,
        )
        return [_dead_letter_of(row) for row in rows]

    async def batches(
        self, environment_id: UUID, which: DeadLetterFilter, *, after: UUID | None, limit: int
    ) -> Sequence[FailedBatch]:
        """Batches with failed items; see the port."""
        rows = await self._database.fetch(
            _SQL["failed_batches"],
            environment_id,
            which.error_code,
            which.resource_id,
            which.batch_id,
            after or _LAST_ID,
            limit,
        )
        return [FailedBatch(**row) for row in rows]


def _dead_letter_of(row: Row) -> DeadLetter:
    custom_id = row["custom_id"]
    return DeadLetter(**{**row, "custom_id": custom_id and custom_id.decode("utf-8", "surrogatepass")})
