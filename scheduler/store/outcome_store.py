"""The flush, and the events it leaves for readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID

import asyncpg

from scheduler.domain.batch import BatchEvent, Event, ItemEvent
from scheduler.domain.errors import InvariantBroken
from scheduler.domain.outcome import ItemOutcome, Recorded
from scheduler.domain.status import ItemStatus
from scheduler.ports.outcomes import Flushed, FlushedBatch
from scheduler.store.database import Database
from scheduler.store.failures import is_passing
from scheduler.store.item_rows import item_of, outcome_columns
from scheduler.store.rows import batch_as_of, batch_of
from scheduler.store.statements import load_statements

_SQL = load_statements("outcome")
_GET_BATCHES = load_statements("batch")["get_batches"]
NOT_STORABLE = "RESPONSE_NOT_STORABLE"
_CHUNK_BYTES = 32 * 1024 * 1024
"""Bodies of one statement: far below the 1 GB of a Postgres message."""
_LARGEST_BODY_BYTES = 256 * 1024 * 1024


class PostgresOutcomeStore:
    """Implements ports.outcomes.OutcomeStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def flush(self, outcomes: Sequence[ItemOutcome], *, wait_for_locks: bool = False) -> Flushed:
        """Record outcomes of many batches in one statement; see the port.

        Only bodies of more than 32 MiB together take more statements. After Unavailable some may be recorded:
        flush them all again, those answer DUPLICATE.
        """
        parts = [await self._record(chunk, wait_for_locks) for chunk in _chunks(outcomes)]
        if len(parts) == 1:
            return parts[0]
        newest = {batch.batch_id: batch for part in parts for batch in part.batches}
        return Flushed(
            recorded=tuple(verdict for part in parts for verdict in part.recorded),
            batches=tuple(newest.values()),
            deliveries=sum(part.deliveries for part in parts),
        )

    async def events(self, batch_id: UUID, *, after: int, limit: int) -> Sequence[Event]:
        """Numbered events in order, gapless from after + 1."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["events"], batch_id, after, limit)
            batch = None
            if any(row["action"] is not None for row in rows):
                found = await connection.fetchrow(_GET_BATCHES, [batch_id])
                batch = batch_of(found) if found else None
        events: list[Event] = []
        for row in rows:
            if row["action"] is None:
                events.append(ItemEvent(row["number"], item_of(row)))
            elif batch is not None:
                events.append(BatchEvent(row["number"], row["action"], batch_as_of(batch, row["snapshot"])))
        return events

    async def _record(self, outcomes: Sequence[ItemOutcome], wait: bool) -> Flushed:
        """One statement; halves on refusal, down to the row that cannot be stored."""
        try:
            async with self._database.connection() as connection:
                try:
                    row = await connection.fetchrow(_SQL["record_outcomes"], *outcome_columns(outcomes), wait)
                except (asyncpg.PostgresError, asyncpg.DataError, UnicodeError, OverflowError) as error:
                    if is_passing(error):
                        raise
                    raise _Refused(type(error).__name__) from error
        except _Refused as refusal:
            return await self._bisect(outcomes, wait, refusal)
        if row is None:
            raise InvariantBroken("record_outcomes answered nothing")
        return Flushed(
            recorded=tuple(Recorded(verdict) for verdict in row["verdicts"]),
            batches=tuple(
                FlushedBatch(batch_id, environment_id, workspace_id, last_event, ended)
                for batch_id, environment_id, workspace_id, last_event, ended in zip(
                    row["batch_ids"] or (),
                    row["environment_ids"] or (),
                    row["workspace_ids"] or (),
                    row["last_events"] or (),
                    row["ended"] or (),
                    strict=True,
                )
            ),
            deliveries=row["delivered"],
        )

    async def _bisect(self, outcomes: Sequence[ItemOutcome], wait: bool, refusal: _Refused) -> Flushed:
        if len(outcomes) == 1:
            if outcomes[0].error_code == NOT_STORABLE:
                raise InvariantBroken(f"postgres refused an outcome without body: {refusal.kind}") from refusal
            return await self._record([_not_storable(outcomes[0])], wait)
        middle = len(outcomes) // 2
        first = await self._record(outcomes[:middle], wait)
        second = await self._record(outcomes[middle:], wait)
        newest = {batch.batch_id: batch for batch in (*first.batches, *second.batches)}
        return Flushed(
            recorded=first.recorded + second.recorded,
            batches=tuple(newest.values()),
            deliveries=first.deliveries + second.deliveries,
        )


class _Refused(Exception):
    """Postgres cannot store what it was given. kind: the name of its error, never its text (it may quote a body)."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def _not_storable(outcome: ItemOutcome) -> ItemOutcome:
    """The record of an item whose own outcome cannot be stored."""
    return replace(
        outcome,
        status=ItemStatus.FAILED,
        error_code=NOT_STORABLE,
        error_message="The provider's answer could not be stored.",
        response=None,
        response_headers=None,
        prompt_tokens=None,
        output_tokens=None,
        model=None,
        http_status=None,
    )


def _chunks(outcomes: Sequence[ItemOutcome]) -> Iterator[Sequence[ItemOutcome]]:
    """The outcomes in order, cut where their bodies would make too large a message."""
    chunk: list[ItemOutcome] = []
    size = 0
    for outcome in outcomes:
        body_bytes = len(outcome.response or b"")
        if body_bytes > _LARGEST_BODY_BYTES:
            outcome, body_bytes = _not_storable(outcome), 0
        if chunk and size + body_bytes > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(outcome)
        size += body_bytes
    if chunk:
        yield chunk
