"""The reference backend: the batches of one API key in Postgres and Redis, run by Brim's workers.

    async with open_core(settings) as core:
        backend = ReferenceBackend(core, key)
        engine = BatchEngine(backend, backend, most_items=settings.max_file_lines)

What is submitted here is seen on the OpenAI face too, and the other way round.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import msgspec

from scheduler.batch_engine.failures import InvalidSubmission, QueueError
from scheduler.batch_engine.jobs import BatchItem, BatchJob, BatchSubmission, DeadLetter, JobPage, WebhookDelivery
from scheduler.batch_engine.shown import dead_letter_of, delivery_of, item_of, job_of
from scheduler.domain.batch import Item
from scheduler.domain.errors import Conflict, Invalid, NotFound, Unavailable
from scheduler.domain.file import BATCH_FILES_EXPIRE, File, NewFile, Purpose
from scheduler.domain.ids import uuid7
from scheduler.domain.public_ids import BATCH, read_id
from scheduler.domain.setup import ApiKey
from scheduler.domain.submission import ExecutionMode, NewSubmission, SourceFormat, Submission, WebhookFormat
from scheduler.ports.dead_letters import DeadLetterFilter
from scheduler.ports.files import Draft
from scheduler.providers.anthropic.blocks import Untranslatable
from scheduler.providers.anthropic.from_messages import to_chat
from scheduler.services.batches.control import BatchControl
from scheduler.services.batches.dead_letters import DeadLetters
from scheduler.services.batches.opening import Opening
from scheduler.services.batches.progress import Progress
from scheduler.services.batches.reopening import Reopening
from scheduler.services.callers.callback_guard import refusal_of_target
from scheduler.services.callers.tenants import Tenants
from scheduler.services.core import Core
from scheduler.services.shards.access import Shards
from scheduler.services.submissions.batch_form import OwnWebhook
from scheduler.services.submissions.submissions import Submissions

MOST_DEAD = 1_000
"""Dead deliveries that one replay sends again."""
_LINES_AT_ONCE = 500


class ReferenceBackend:
    """Implements both ports for one API key: its environment, its resources, its limits."""

    def __init__(self, core: Core, key: ApiKey) -> None:
        settings, store, engine = core.settings, core.store, core.engine
        tenants, shards = Tenants(store), Shards(core.recovery)
        opening = Opening(settings, store, engine, tenants, shards)
        self._settings = settings
        self._store = store
        self._files = core.files
        self._key = key
        control = BatchControl(settings, store, engine, tenants, shards)
        self._submissions = Submissions(settings, store, core.files, core.vault, control)
        self._progress = Progress(store, engine, tenants, shards)
        self._dead = DeadLetters(store.dead_letters, Reopening(store, tenants, shards, opening, core.recovery))

    async def add(self, batch_id: str, submission: BatchSubmission, now: datetime) -> BatchJob:
        """Keep the requests as a file and the submission beside it; workers check and run it."""
        if submission.execution_mode is ExecutionMode.NATIVE and submission.source_format is SourceFormat.ANTHROPIC:
            raise InvalidSubmission("execution_mode", "of Anthropic's messages is here")
        internal = read_id(BATCH, batch_id)
        if internal is None:
            raise InvalidSubmission("batch_id", "must be batch_ and 32 hexadecimal digits")
        async with _translated():
            own = await self._webhook(submission)
            file = await self._keep(submission, now)
            stored = await self._store.submissions.create(
                NewSubmission(
                    workspace_id=self._key.workspace_id,
                    environment_id=self._key.environment_id,
                    batch_id=internal,
                    api_key_id=self._key.api_key_id,
                    source_format=submission.source_format,
                    execution_mode=submission.execution_mode,
                    input_file_id=file.file_id,
                    endpoint=submission.endpoint,
                    completion_window=f"{max(1, round(submission.expires_after.total_seconds() / 3600))}h",
                    fine_priority=submission.priority,
                    max_retries=submission.max_retries,
                    metadata=submission.metadata,
                    output_expires_after_s=None,
                    created_at=now,
                    expires_at=now + submission.expires_after,
                    targets=self._submissions.targets(own),
                )
            )
        return job_of(stored)

    async def job(self, batch_id: str) -> BatchJob | None:
        """A batch of this key's environment."""
        found = await self._find(batch_id)
        return None if found is None else job_of(found)

    async def jobs(self, *, cursor: str | None, limit: int) -> JobPage[BatchJob]:
        """Newest first, of both formats: OpenAI's first, then Anthropic's. cursor: "<format>:<id>"."""
        kind, after = _position(cursor)
        async with _translated():
            page = await self._submissions.page(self._key.environment_id, kind, limit=limit, after=after)
        data = tuple(map(job_of, page.data))
        if page.next_after is not None:
            return JobPage(data, f"{kind.value}:{page.next_after}")
        return JobPage(data, f"{SourceFormat.ANTHROPIC.value}:" if kind is SourceFormat.OPENAI else None)

    async def items(self, batch_id: str, *, cursor: str | None, limit: int) -> JobPage[BatchItem]:
        """Items in order; none as long as the submission is being checked."""
        found = await self._find(batch_id)
        if found is None or found.progress is None:
            return JobPage((), None)
        if cursor is not None and not cursor.isdecimal():
            raise InvalidSubmission("cursor", "is none of this list")
        async with _translated():
            after_seq = int(cursor or 0)
            rows = await self._store.items.page(found.batch_id, after_seq=after_seq, limit=limit + 1)
            shown = rows[:limit]
            data = await self._shown(found, shown)
        return JobPage(data, str(shown[-1].seq) if len(rows) > limit else None)

    async def cancel(self, batch_id: str, now: datetime) -> BatchJob | None:  # noqa: ARG002 - Postgres has the clock
        """Stop it; unchanged when it is final."""
        found = await self._find(batch_id)
        if found is None or found.ending is not None:
            return None if found is None else job_of(found)
        async with _translated():
            try:
                return job_of(await self._submissions.cancel(found))
            except Conflict:  # all of it was finished meanwhile
                return await self.job(batch_id)

    async def dead_letters(self, *, batch_id: str | None, cursor: str | None, limit: int) -> JobPage[DeadLetter]:
        """Those of the environment, or of one batch."""
        which = DeadLetterFilter(batch_id=None if batch_id is None else read_id(BATCH, batch_id) or UUID(int=0))
        async with _translated():
            try:
                page = await self._dead.page(self._key.environment_id, which, after=cursor, limit=limit)
            except Invalid:
                raise InvalidSubmission("cursor", "is none of this list") from None
        return JobPage(tuple(map(dead_letter_of, page.data)), page.next_after)

    async def replay(self, batch_id: str) -> int:
        """Run them again; 0 as long as the batch has not ended."""
        internal = read_id(BATCH, batch_id)
        if internal is None:
            return 0
        async with _translated():
            done = await self._dead.replay(self._key.environment_id, DeadLetterFilter(batch_id=internal))
        return done.items

    async def deliveries(self, batch_id: str, *, cursor: str | None, limit: int) -> JobPage[WebhookDelivery]:
        """The webhooks of a batch, oldest first."""
        found = await self._find(batch_id)
        if found is None:
            return JobPage((), None)
        async with _translated():
            after = None if cursor is None else _uuid(cursor)
            page = await self._store.deliveries.list(found.batch_id, after=after, limit=limit)
        return JobPage(tuple(map(delivery_of, page.data)), page.next_after)

    async def replay_dead(self, batch_id: str) -> int:
        """Send the dead ones again."""
        found = await self._find(batch_id)
        if found is None:
            return 0
        async with _translated():
            return await self._store.deliveries.replay_dead(found.batch_id, MOST_DEAD)

    async def _find(self, batch_id: str) -> Submission | None:
        internal = read_id(BATCH, batch_id)
        if internal is None:
            return None
        async with _translated():
            return await self._submissions.get(self._key.environment_id, internal)

    async def _shown(self, found: Submission, rows: Sequence[Item]) -> tuple[BatchItem, ...]:
        batch = await self._store.batches.get(found.environment_id, found.batch_id)
        if batch is None:
            return tuple(item_of(found, row, row.status) for row in rows)
        standings = await self._progress.standings(batch, rows)
        return tuple(item_of(found, row, standings[row.seq].status) for row in rows)

    async def _webhook(self, submission: BatchSubmission) -> OwnWebhook | None:
        if submission.webhook_url is None:
            return None
        refusal = await refusal_of_target(submission.webhook_url, self._settings.callback_allow_hosts)
        if refusal is not None:
            raise InvalidSubmission("webhook_url", f"is refused: {refusal}")
        secrets = () if submission.webhook_secret is None else (submission.webhook_secret,)
        return OwnWebhook(submission.webhook_url, secrets, WebhookFormat.BRIM)

    async def _keep(self, submission: BatchSubmission, now: datetime) -> File:
        async with self._files.drafting() as draft:
            await asyncio.to_thread(_write, draft, submission)
            new = NewFile(
                workspace_id=self._key.workspace_id,
                environment_id=self._key.environment_id,
                file_id=uuid7(int(now.timestamp() * 1000), os.urandom(10)),
                purpose=Purpose.BATCH,
                filename="submission.jsonl",
                created_at=now,
                expires_at=now + BATCH_FILES_EXPIRE,
            )
            return await self._files.keep(draft, new)


def _write(draft: Draft, submission: BatchSubmission) -> None:
    """The lines that the ingester reads. Raises InvalidSubmission for a body that no JSON holds."""
    lines: list[bytes] = []
    for index, item in enumerate(submission.items):
        try:
            anthropic = submission.source_format is SourceFormat.ANTHROPIC
            body = to_chat(item.body) if anthropic else item.body
            line = {"custom_id": item.custom_id, "method": "POST", "url": submission.endpoint, "body": body}
            lines.append(msgspec.json.encode(line) + b"\n")
        except Untranslatable as problem:
            raise InvalidSubmission(f"items[{index}].body", str(problem)) from None
        except (TypeError, ValueError, RecursionError):
            raise InvalidSubmission(f"items[{index}].body", "is no JSON") from None
        if len(lines) >= _LINES_AT_ONCE:
            draft.write(b"".join(lines))
            lines.clear()
    draft.write(b"".join(lines))


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except Unavailable as error:
        raise QueueError(error.message, error.retry_after_s) from error
    except NotFound as error:
        raise InvalidSubmission("batch", error.message) from error


def _position(cursor: str | None) -> tuple[SourceFormat, UUID | None]:
    if cursor is None:
        return SourceFormat.OPENAI, None
    kind, _, after = cursor.partition(":")
    try:
        return SourceFormat(kind), _uuid(after) if after else None
    except ValueError:
        raise InvalidSubmission("cursor", "is none of this list") from None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidSubmission("cursor", "is none of this list") from None
