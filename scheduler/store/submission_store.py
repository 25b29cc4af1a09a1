"""Submissions: what was asked, how far their results are written, how they end."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from scheduler.domain.errors import InvariantBroken, NotFound
from scheduler.domain.submission import Ending, NewSubmission, SourceFormat, Submission, Written
from scheduler.ports.pages import Page
from scheduler.ports.submissions import HeldSubmissions, Result, WebhookEvent
from scheduler.store.database import Database
from scheduler.store.rows import json_text, receiver_of_url
from scheduler.store.statements import load_statements
from scheduler.store.submission_grip import PostgresGrip, post
from scheduler.store.submission_rows import result_of, submission_of

if TYPE_CHECKING:
    from scheduler.store.database import PooledConnection

_SQL = load_statements("submission")
_LAST_ID = UUID(int=(1 << 128) - 1)


class PostgresSubmissionStore:
    """Implements ports.submissions.SubmissionStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, submission: NewSubmission) -> Submission:
        """Store it, to be checked; see the port."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(_SQL["create_submission"], *_columns(submission)) is None:
                raise NotFound("The environment does not exist.", code="ENVIRONMENT_NOT_FOUND")
            for no, target in enumerate(submission.targets):
                secrets = None if target.sealed_secrets is None else list(target.sealed_secrets)
                receiver = receiver_of_url(target.url)
                await connection.execute(
                    _SQL["create_targets"],
                    *(submission.batch_id, no, target.format.value, target.url, receiver, secrets),
                )
            (row,) = await connection.fetch(_SQL["get_submissions"], [submission.batch_id])
        return submission_of(row)

    async def get(self, environment_id: UUID, batch_id: UUID) -> Submission | None:
        """One submission, or None."""
        row = await self._database.fetchrow(_SQL["get_submission"], environment_id, batch_id)
        return None if row is None else submission_of(row)

    async def page(
        self, environment_id: UUID, source_format: SourceFormat, *, limit: int, after: UUID | None
    ) -> Page[Submission]:
        """Newest first; see the port."""
        rows = await self._database.fetch(
            _SQL["list_submissions"], environment_id, source_format.value, after or _LAST_ID, limit + 1
        )
        data = tuple(map(submission_of, rows[:limit]))
        return Page(data, str(data[-1].batch_id) if len(rows) > limit else None)

    async def before(
        self, environment_id: UUID, source_format: SourceFormat, *, limit: int, before: UUID
    ) -> tuple[Sequence[Submission], bool]:
        """Those right before one in the list; see the port."""
        rows = await self._database.fetch(
            _SQL["list_submissions_before"], environment_id, source_format.value, before, limit + 1
        )
        return tuple(map(submission_of, reversed(rows[:limit]))), len(rows) > limit

    async def find(self, batch_ids: Sequence[UUID]) -> Sequence[Submission]:
        """Those that exist, of whatever environment; see the port."""
        return [submission_of(row) for row in await self._database.fetch(_SQL["get_submissions"], batch_ids)]

    async def since(self, after: UUID, limit: int) -> Sequence[UUID]:
        """Ids above `after`; see the port."""
        return [row["batch_id"] for row in await self._database.fetch(_SQL["submissions_since"], after, limit)]

    async def open(self) -> Sequence[UUID]:
        """Ids of all that have not ended; see the port."""
        return [row["batch_id"] for row in await self._database.fetch(_SQL["open_submissions"])]

    async def stop(self, environment_id: UUID, batch_id: UUID, *, expired: bool) -> bool:
        """Stop it, and its batch; see the port."""
        return bool(await self._database.fetchval(_SQL["stop_submission"], environment_id, batch_id, expired))

    async def grip(self, holder: str, lease_s: float) -> PostgresGrip | None:
        """Take an unchecked submission; see the port."""
        batch_id = await self._database.fetchval(_SQL["grip_submission"], holder, lease_s)
        if batch_id is None:
            return None
        (submission,) = await self._many([batch_id])
        return PostgresGrip(self._database, submission, holder, lease_s)

    async def hold(self, holder: str, lease_s: float, most: int) -> HeldSubmissions:
        """Those whose results this holder writes; see the port."""
        await self._database.execute(_SQL["hold_running"], holder, lease_s, most)
        rows = await self._database.fetch(_SQL["held_running"], holder)
        due = [row["batch_id"] for row in rows if row["is_due"]]
        return HeldSubmissions(frozenset(row["batch_id"] for row in rows), await self._many(due) if due else ())

    async def let_go(self, holder: str) -> None:
        """End all leases of a holder."""
        await self._database.execute(_SQL["let_go"], holder)

    async def results(self, batch_id: UUID, *, after: int, up_to: int, limit: int, most_bytes: int) -> Sequence[Result]:
        """Outcomes in order of their events; see the port."""
        return [
            result_of(row)
            for row in await self._database.fetch(_SQL["results"], batch_id, after, up_to, limit, most_bytes)
        ]

    async def advance(
        self, batch_id: UUID, holder: str, seen: Written, written: Written, events: Sequence[WebhookEvent]
    ) -> bool:
        """Record how far the files are written; see the port."""
        usage = written.usage
        parts = [
            figure for part in (written.output, written.errors) for figure in (part.size_bytes, part.lines, part.crc)
        ]
        tokens = [usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens]
        async with self._database.transaction() as connection:
            changed = await connection.execute(
                _SQL["advance_written"], batch_id, holder, seen.told_event, written.told_event, *parts, *tokens
            )
            return await _told(connection, changed, batch_id, events)

    async def start(self, batch_id: UUID, holder: str, event: WebhookEvent) -> bool:
        """Tell once that it runs; see the port."""
        async with self._database.transaction() as connection:
            changed = await connection.execute(_SQL["start_submission"], batch_id, holder)
            return await _told(connection, changed, batch_id, [event])

    async def end(
        self,
        batch_id: UUID,
        holder: str,
        ending: Ending,
        ended_at: datetime,
        output_file_id: UUID | None,
        error_file_id: UUID | None,
        event: WebhookEvent,
    ) -> bool:
        """The end, told; see the port."""
        async with self._database.transaction() as connection:
            changed = await connection.execute(
                _SQL["end_submission"], batch_id, holder, ending.value, ended_at, output_file_id, error_file_id
            )
            return await _told(connection, changed, batch_id, [event])

    async def unended(self, batch_ids: Sequence[UUID]) -> Set[UUID]:
        """Those that have not ended."""
        return {row["batch_id"] for row in await self._database.fetch(_SQL["unended"], batch_ids)}

    async def _many(self, batch_ids: Sequence[UUID]) -> Sequence[Submission]:
        found = [submission_of(row) for row in await self._database.fetch(_SQL["get_submissions"], batch_ids)]
        if len(found) != len(batch_ids):
            raise InvariantBroken("a submission vanished while it was held")
        return found


async def _told(connection: PooledConnection, changed: str, batch_id: UUID, events: Sequence[WebhookEvent]) -> bool:
    if changed != "UPDATE 1":
        return False
    await post(connection, batch_id, events)
    return True


def _columns(submission: NewSubmission) -> list[object]:
    metadata = submission.metadata
    return [
        submission.batch_id,
        submission.workspace_id,
        submission.environment_id,
        submission.api_key_id,
        submission.input_file_id,
        submission.created_at,
        submission.expires_at,
        submission.output_expires_after_s,
        submission.fine_priority,
        submission.max_retries,
        submission.source_format.value,
        submission.execution_mode.value,
        submission.endpoint,
        submission.completion_window,
        None if metadata is None else json_text(dict(metadata)),
    ]
