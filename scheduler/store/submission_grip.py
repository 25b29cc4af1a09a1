"""A submission while it is checked: its items are stored unseen, until it becomes a batch or is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING
from uuid import UUID

from asyncpg import UniqueViolationError

from scheduler.domain.batch import Batch, NewBatch, NewItem
from scheduler.domain.errors import Conflict, InvariantBroken
from scheduler.domain.priority import Priority
from scheduler.domain.status import BatchType
from scheduler.domain.submission import ExecutionMode, LineFault, Submission
from scheduler.ports.flows import StoredFlow
from scheduler.ports.submissions import WebhookEvent
from scheduler.store.batch_making import create_batch, create_flows, hold_resources
from scheduler.store.database import Database
from scheduler.store.ingest import FlowTally, copy_items
from scheduler.store.rows import batch_of, flow_of, json_text
from scheduler.store.statements import load_statements

if TYPE_CHECKING:
    from scheduler.store.database import PooledConnection

_SQL = load_statements("submission")
_BATCH = load_statements("batch")
_CLEARED = 5_000
"""Items deleted at once."""


class PostgresGrip:
    """Implements ports.submissions.Gripped."""

    def __init__(self, database: Database, submission: Submission, holder: str, lease_s: float) -> None:
        self._database = database
        self._holder = holder
        self._lease_s = lease_s
        self._flows = FlowTally()
        self._in_tokens = 0
        self.submission = submission
        self.stored = 0

    @property
    def _batch_id(self) -> UUID:
        return self.submission.batch_id

    async def clear(self) -> None:
        """Delete what an earlier check left behind; see the port."""
        while True:
            _held(
                await self._database.execute(
                    _SQL["keep_grip_of_cancelled"], self._batch_id, self._holder, self._lease_s
                )
            )
            if not await self._database.fetchval(_SQL["clear_items"], self._batch_id, _CLEARED):
                break
        self._flows, self._in_tokens, self.stored = FlowTally(), 0, 0

    async def append(self, items: Sequence[NewItem]) -> None:
        """Store items with the next seqs, unseen; see the port."""
        for seq, item in enumerate(items, start=self.stored + 1):
            self._flows.add(item.resource_id, seq)
        stored = self.stored + len(items)
        async with self._database.transaction() as connection:
            try:
                await copy_items(connection, self._batch_id, items, self._flows.number, self.stored + 1)
            except UniqueViolationError:
                _held(0)  # whoever took the lease meanwhile has stored these seqs already
            # Last: whoever took the lease meanwhile makes this fail, and its deletion waits for our rows to be gone.
            kept = await connection.execute(_SQL["keep_grip"], self._batch_id, self._holder, self._lease_s, stored)
            _held_row(kept)
        self.stored = stored
        self._in_tokens += sum(item.in_tokens for item in items)

    async def touch(self) -> None:
        """Keep the lease; see the port."""
        _held(await self._database.execute(_SQL["keep_grip"], self._batch_id, self._holder, self._lease_s, self.stored))

    async def become(self, model: str | None, event: WebhookEvent) -> tuple[Batch, Sequence[StoredFlow]]:
        """Make the batch of what is stored; see the port."""
        async with self._database.transaction() as connection:
            _held_row(await connection.execute(_SQL["become_batch"], self._batch_id, self._holder, model))
            await hold_resources(connection, self.submission.environment_id, list(self._flows.number))
            await create_batch(connection, _batch(self.submission), self.stored, self._in_tokens)
            await create_flows(connection, self._batch_id, self._flows)
            if self.submission.execution_mode is ExecutionMode.NATIVE:
                # From its first moment on: its items run at the provider, never here.
                await connection.execute(_BATCH["set_paused"], self.submission.environment_id, self._batch_id, True)
            await post(connection, self._batch_id, [event])
            row = await connection.fetchrow(_BATCH["get_batch"], self.submission.environment_id, self._batch_id)
            flows = await connection.fetch(_BATCH["flows"], self._batch_id)
        if row is None:
            raise InvariantBroken(f"batch {self._batch_id} vanished in its own transaction")
        return batch_of(row), tuple(map(flow_of, flows))

    async def refuse(self, faults: Sequence[LineFault], event: WebhookEvent) -> None:
        """The submission FAILED; see the port."""
        text = json_text([asdict(fault) for fault in faults])
        async with self._database.transaction() as connection:
            _held_row(await connection.execute(_SQL["refuse_submission"], self._batch_id, self._holder, text))
            await post(connection, self._batch_id, [event])

    async def give_up(self, event: WebhookEvent) -> None:
        """It was cancelled before it became a batch; see the port."""
        async with self._database.transaction() as connection:
            _held_row(await connection.execute(_SQL["give_up_submission"], self._batch_id, self._holder))
            await post(connection, self._batch_id, [event])

    async def let_go(self) -> None:
        """End the lease."""
        await self._database.execute(_SQL["let_go"], self._holder)


async def post(connection: PooledConnection, batch_id: UUID, events: Sequence[WebhookEvent]) -> None:
    """Write events for all targets of a submission that want them."""
    if events:
        types, data = [event.type for event in events], [json_text(event.data) for event in events]
        await connection.execute(_SQL["post_webhooks"], batch_id, types, data)


def _batch(submission: Submission) -> NewBatch:
    return NewBatch(
        workspace_id=submission.workspace_id,
        environment_id=submission.environment_id,
        batch_id=submission.batch_id,
        type=BatchType.ASYNC,
        callback=None,
        capacity=(),
        max_in_flight=None,
        priority=Priority.NORMAL,
        metadata=None if submission.metadata is None else json_text(dict(submission.metadata)).encode(),
        deadline=None,
        api_key_id=submission.api_key_id,
        fine_priority=submission.fine_priority,
        max_retries=submission.max_retries,
    )


def _held(rows: int) -> None:
    if rows != 1:
        raise Conflict("The lease of the submission is lost, or it was cancelled.", code="INVALID_STATE")


def _held_row(tag: str) -> None:
    _held(1 if tag == "UPDATE 1" else 0)
