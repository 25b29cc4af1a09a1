"""Parts of batches that are handed over to the provider's own Batch API."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.domain.handover import Handover, HandoverState
from scheduler.store.database import Database
from scheduler.store.rows import Row
from scheduler.store.statements import load_statements

_SQL = load_statements("handover")


class PostgresHandoverStore:
    """Implements ports.handovers.HandoverStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def plan(self) -> int:
        """Make missing rows; see the port."""
        return await self._database.execute(_SQL["plan_handovers"])

    async def take(self, holder: str, lease_s: float, most: int) -> Sequence[Handover]:
        """Due ones; see the port."""
        rows = await self._database.fetch(_SQL["take_handovers"], holder, lease_s, most)
        return [_handover_of(row) for row in rows]

    async def record(self, holder: str, handover: Handover, lease_s: float) -> bool:
        """Where it stands; see the port."""
        changed = await self._database.execute(
            _SQL["record_handover"],
            holder,
            handover.batch_id,
            handover.resource_id,
            handover.state.value,
            handover.file_ref,
            handover.batch_ref,
            handover.asked_at,
            lease_s,
        )
        return changed == 1

    async def put_off(self, holder: str, handover: Handover, delay_s: float) -> None:
        """Look again later; see the port."""
        await self._database.execute(
            _SQL["put_off_handover"],
            holder,
            handover.batch_id,
            handover.resource_id,
            min(handover.tries, 1000),
            delay_s,
        )

    async def finish(self, holder: str, handover: Handover) -> bool:
        """DONE; see the port."""
        await self._database.execute(_SQL["unpause_handed"], handover.batch_id)
        changed = await self._database.execute(_SQL["finish_handover"], holder, handover.batch_id, handover.resource_id)
        return changed == 1


def _handover_of(row: Row) -> Handover:
    return Handover(
        batch_id=row["batch_id"],
        resource_id=row["resource_id"],
        environment_id=row["environment_id"],
        state=HandoverState(row["state"]),
        file_ref=row["file_ref"],
        batch_ref=row["batch_ref"],
        asked_at=row["asked_at"],
        tries=row["tries"],
    )
