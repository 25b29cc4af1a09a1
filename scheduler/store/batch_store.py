"""Batches: creation in one transaction, reading, and control."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from scheduler.domain.batch import Batch, BatchChange, NewBatch, NewItem
from scheduler.domain.errors import Conflict, InvariantBroken
from scheduler.domain.status import FINAL_BATCH, BatchStatus
from scheduler.ports.batches import Reservation
from scheduler.ports.flows import StoredFlow
from scheduler.ports.pages import Page
from scheduler.store.batch_making import create_batch, create_flows, hold_resources
from scheduler.store.database import Database
from scheduler.store.ingest import BREATH_ITEMS, COPY_TIMEOUT_S, FlowTally, copy_items
from scheduler.store.rows import batch_of, flow_of, json_text
from scheduler.store.statements import load_statements

_SQL = load_statements("batch")
UNKNOWN_BODY = b""
"""In place of a hash while the body is still coming."""
_LAST_ID = UUID(int=(1 << 128) - 1)


class PostgresBatchStore:
    """Implements ports.batches.BatchStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve_idempotency(
        self, environment_id: UUID, key: str, body_hash: bytes, batch_id: UUID
    ) -> Reservation:
        """Claim a key for `batch_id`; see the port."""
        while True:
            taken = await self._database.fetchval(
                _SQL["reserve_idempotency_key"], environment_id, key, body_hash, batch_id
            )
            if taken is not None:
                return Reservation(replay=False, batch_id=batch_id)
            holder = await self._database.fetchrow(_SQL["idempotency_holder"], environment_id, key)
            if holder is None:
                continue  # given back between the two statements
            if holder["body_hash"] == UNKNOWN_BODY and not holder["sealed"]:
                raise Conflict("The first request with this Idempotency-Key still runs.", code="IN_PROGRESS")
            if holder["body_hash"] != body_hash:
                raise Conflict("This Idempotency-Key was used with another body.", code="IDEMPOTENCY_CONFLICT")
            if not holder["created"]:
                raise Conflict("The first request with this Idempotency-Key still runs.", code="IN_PROGRESS")
            return Reservation(replay=True, batch_id=holder["batch_id"])

    async def release_idempotency(self, environment_id: UUID, key: str, batch_id: UUID) -> None:
        """Give the key back after a creation that failed."""
        await self._database.execute(_SQL["release_idempotency_key"], environment_id, key, batch_id)

    async def create(
        self, batch: NewBatch, items: Sequence[NewItem], *, idempotency_key: str | None = None
    ) -> tuple[Batch, Sequence[StoredFlow]]:
        """Store a whole batch in one transaction; see the port.

        Raises NotFound when the environment or a resource is gone; Conflict IN_PROGRESS when another took the key over.
        The event loop breathes every few hundred items.
        """
        if not items:
            raise InvariantBroken("a batch without items")
        flows = FlowTally()
        in_tokens = 0
        for seq, item in enumerate(items, start=1):
            flows.add(item.resource_id, seq)
            in_tokens += item.in_tokens
            if not seq % (BREATH_ITEMS * 10):
                await asyncio.sleep(0)
        async with self._database.transaction() as connection:
            await hold_resources(connection, batch.environment_id, list(flows.number))
            await create_batch(connection, batch, len(items), in_tokens)
            rows = await create_flows(connection, batch.batch_id, flows)
            await copy_items(connection, batch.batch_id, items, flows.number)
            row = await connection.fetchrow(_SQL["get_batch"], batch.environment_id, batch.batch_id)
            if idempotency_key is not None:
                key = (batch.environment_id, idempotency_key, batch.batch_id)
                if await connection.fetchval(_SQL["keep_idempotency_key"], *key) is None:
                    raise Conflict("Another request with this Idempotency-Key creates it.", code="IN_PROGRESS")
        if row is None:
            raise InvariantBroken(f"batch {batch.batch_id} vanished in its own transaction")
        return batch_of(row), tuple(flow_of(flow) for flow in rows)

    async def get(self, environment_id: UUID, batch_id: UUID) -> Batch | None:
        """One batch, or None."""
        row = await self._database.fetchrow(_SQL["get_batch"], environment_id, batch_id)
        return None if row is None else batch_of(row)

    async def list(
        self, environment_id: UUID, *, limit: int, after: UUID | None, status: BatchStatus | None
    ) -> Page[Batch]:
        """Newest first; see the port."""
        before = after or _LAST_ID
        if status is None:
            rows = await self._database.fetch(_SQL["list_batches"], environment_id, before, limit + 1)
        else:
            rows = await self._database.fetch(
                _SQL["list_batches_of_status"], environment_id, before, limit + 1, status.value
            )
        data = tuple(batch_of(row) for row in rows[:limit])
        return Page(data, str(data[-1].batch_id) if len(rows) > limit else None)

    async def flows(self, batch_id: UUID) -> Sequence[StoredFlow]:
        """The flows of a batch in the order of first use."""
        return tuple(flow_of(row) for row in await self._database.fetch(_SQL["flows"], batch_id))

    async def cancel(self, environment_id: UUID, batch_id: UUID) -> Batch | None:
        """Cancel unless final; see the port."""
        await self._database.execute(_SQL["cancel_batch"], environment_id, batch_id)
        return await self.get(environment_id, batch_id)

    async def end_full(self, batch_ids: Sequence[UUID]) -> Sequence[UUID]:
        """End those whose items all have outcomes; see the port."""
        rows = await self._database.fetch(_SQL["end_full_batches"], batch_ids)
        return tuple(row["batch_id"] for row in rows)

    async def retry(
        self,
        environment_id: UUID,
        batch_id: UUID,
        seqs: Sequence[int] | None = None,
        *,
        error_code: str | None = None,
        resource_id: UUID | None = None,
    ) -> tuple[Batch, int] | None:
        """Run failed items again; see the port."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                _SQL["retry_batch"], environment_id, batch_id, seqs, error_code, resource_id, timeout=COPY_TIMEOUT_S
            )
        verdict, again = row if row is not None else ("unknown", 0)
        if verdict == "open":
            raise Conflict("The batch has not ended yet.", code="INVALID_STATE")
        batch = None if verdict == "unknown" else await self.get(environment_id, batch_id)
        return None if batch is None else (batch, again)

    async def set_paused(self, environment_id: UUID, batch_id: UUID, paused: bool) -> Batch | None:
        """Hold or let go the waiting items; see the port."""
        changed = await self._database.execute(_SQL["set_paused"], environment_id, batch_id, paused)
        batch = await self.get(environment_id, batch_id)
        if not changed and batch is not None and batch.status in FINAL_BATCH:
            raise Conflict(f"The batch is {batch.status}.", code="INVALID_STATE")
        return batch

    async def change(self, environment_id: UUID, batch_id: UUID, change: BatchChange) -> Batch | None:
        """Change a live batch; see the port."""
        capacity = None if change.capacity is None else json_text(change.capacity)
        changed = await self._database.execute(
            _SQL["change_batch"],
            environment_id,
            batch_id,
            change.priority.value if change.priority else None,
            capacity,
            change.deadline,
            change.no_deadline,
        )
        batch = await self.get(environment_id, batch_id)
        if not changed and batch is not None:
            raise Conflict(f"The batch is {batch.status}.", code="INVALID_STATE")
        return batch

    async def mark_running(self, batch_ids: Sequence[UUID]) -> None:
        """PENDING → RUNNING; others unchanged."""
        await self._database.execute(_SQL["mark_running"], batch_ids)
