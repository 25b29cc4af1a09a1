"""Batches that come line by line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from scheduler.domain.batch import Batch, NewBatch, NewItem
from scheduler.domain.errors import Conflict, InvariantBroken
from scheduler.domain.outcome import ItemOutcome
from scheduler.domain.status import BatchStatus
from scheduler.ports.flows import StoredFlow
from scheduler.ports.uploads import Appended, Earlier, TornUpload
from scheduler.store.batch_making import create_batch, create_flows, hold_resources
from scheduler.store.batch_store import UNKNOWN_BODY
from scheduler.store.database import Database
from scheduler.store.ingest import FlowTally, copy_items
from scheduler.store.item_rows import outcome_columns
from scheduler.store.rows import batch_of, flow_of
from scheduler.store.statements import load_statements

if TYPE_CHECKING:
    from scheduler.store.database import PooledConnection

_SQL = load_statements("upload")
_BATCH = load_statements("batch")
_RECORD = load_statements("outcome")["record_outcomes"]


class PostgresUpload:
    """Implements ports.uploads.Upload."""

    def __init__(self, database: Database, batch: NewBatch, *, early: bool) -> None:
        self._database = database
        self._batch = batch
        self._early = early
        self._flows = FlowTally()
        self._in_tokens = 0
        self.stored = 0

    async def append(self, items: Sequence[NewItem], failures: Sequence[ItemOutcome] = ()) -> Appended | None:
        """Write items with the next seqs; see the port."""
        grown = FlowTally()
        known = len(self._flows.number)
        for seq, item in enumerate(items, start=self.stored + 1):
            self._flows.add(item.resource_id, seq)
            grown.add(item.resource_id, seq)
        stored, in_tokens = self.stored + len(items), sum(item.in_tokens for item in items)
        appended = None
        async with self._database.transaction() as connection:
            if self._early:
                await hold_resources(connection, self._batch.environment_id, list(self._flows.number)[known:])
            await copy_items(connection, self._batch.batch_id, items, self._flows.number, self.stored + 1)
            # Rows last: the batch is locked for a moment only.
            if await connection.execute(_SQL["advance_upload"], self._batch.batch_id, stored) != "UPDATE 1":
                raise _given_up()
            if self._early:
                appended = await self._extend(connection, grown, stored, in_tokens, failures)
        self.stored = stored
        self._in_tokens += in_tokens
        return appended

    async def _extend(
        self,
        connection: PooledConnection,
        grown: FlowTally,
        stored: int,
        in_tokens: int,
        failures: Sequence[ItemOutcome],
    ) -> Appended:
        rows = await connection.fetch(
            _SQL["extend_flows"],
            self._batch.batch_id,
            list(grown.number),
            [self._flows.number[resource_id] for resource_id in grown.number],
            grown.items,
            grown.first,
            grown.last,
        )
        found = await connection.fetchrow(_SQL["extend_batch"], self._batch.batch_id, stored, in_tokens)
        if found is None:
            raise _given_up()
        last_event: int = found["last_event"]
        if failures:
            recorded = await connection.fetchrow(_RECORD, *outcome_columns(failures), True)
            if recorded is None:
                raise InvariantBroken("record_outcomes answered nothing")
            last_event = recorded["last_events"][0]
        return Appended(tuple(map(flow_of, rows)), BatchStatus(found["status"]), last_event)

    async def touch(self) -> None:
        """A sign of life."""
        await self._database.execute(_SQL["touch_upload"], self._batch.batch_id)

    async def finish(
        self, environment_id: UUID, key: str | None, body_hash: bytes
    ) -> tuple[Batch, Sequence[StoredFlow]]:
        """Make the batch, or seal it; see the port."""
        batch_id = self._batch.batch_id
        async with self._database.transaction() as connection:
            if await connection.execute(_SQL["close_upload"], batch_id) != "DELETE 1":
                raise _given_up()
            if self._early:
                await connection.execute(_SQL["seal_batch"], batch_id, None)
            else:
                await self._make(connection)
            if key is not None:
                await connection.execute(_SQL["name_body"], environment_id, key, batch_id, body_hash)
            row = await connection.fetchrow(_BATCH["get_batch"], environment_id, batch_id)
            flows = await connection.fetch(_BATCH["flows"], batch_id)
        if row is None:
            raise InvariantBroken(f"batch {batch_id} vanished in its own transaction")
        return batch_of(row), tuple(map(flow_of, flows))

    async def _make(self, connection: PooledConnection) -> None:
        flows = self._flows
        await hold_resources(connection, self._batch.environment_id, list(flows.number))
        await create_batch(connection, self._batch, self.stored, self._in_tokens)
        await create_flows(connection, self._batch.batch_id, flows)

    async def tear(self) -> None:
        """Give it up."""
        await self._database.execute(_SQL["tear_upload"], self._batch.batch_id)


class PostgresUploadStore:
    """Implements ports.uploads.UploadStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve_idempotency(self, environment_id: UUID, key: str, batch_id: UUID) -> Earlier | None:
        """Claim a key for a body that is still to come; see the port."""
        while True:
            taken = await self._database.fetchval(
                _BATCH["reserve_idempotency_key"], environment_id, key, UNKNOWN_BODY, batch_id
            )
            if taken is not None:
                return None
            holder = await self._database.fetchrow(_BATCH["idempotency_holder"], environment_id, key)
            if holder is None:
                continue  # given back between the two statements
            if not holder["created"] or (holder["body_hash"] == UNKNOWN_BODY and not holder["sealed"]):
                raise Conflict("The first request with this Idempotency-Key still runs.", code="IN_PROGRESS")
            return Earlier(holder["batch_id"], holder["body_hash"])

    async def open(self, batch: NewBatch, *, early: bool) -> PostgresUpload:
        """Begin; see the port."""
        async with self._database.transaction() as connection:
            if early:
                await create_batch(connection, batch, 0, 0, sealed=False)
            await connection.execute(_SQL["open_upload"], batch.batch_id, early)
        return PostgresUpload(self._database, batch, early=early)

    async def torn(self, silent_s: float) -> Sequence[TornUpload]:
        """Uploads that were given up; see the port."""
        rows = await self._database.fetch(_SQL["torn_uploads"], silent_s)
        return tuple(TornUpload(row["batch_id"], row["early"], row["stored"]) for row in rows)

    async def seal(self, batch_id: UUID, error: str | None) -> Batch | None:
        """Seal an early batch as it is; see the port."""
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["seal_batch"], batch_id, error)
            await connection.execute(_SQL["forget_upload"], batch_id)
            rows = await connection.fetch(_BATCH["get_batches"], [batch_id])
        return batch_of(rows[0]) if rows else None

    async def sweep(self, batch_id: UUID, *, after_seq: int, up_to_seq: int) -> None:
        """Delete items of a held upload."""
        await self._database.execute(_SQL["sweep_items"], batch_id, after_seq, up_to_seq)

    async def forget(self, batch_id: UUID) -> None:
        """The upload is swept away."""
        await self._database.execute(_SQL["forget_upload"], batch_id)


def _given_up() -> Conflict:
    return Conflict("The upload was silent for too long and was given up.", code="INVALID_STATE")
