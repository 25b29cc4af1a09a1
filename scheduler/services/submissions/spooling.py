"""Batches written into folders while they run: a spool. The folder follows the record and can be made anew from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import UUID

from scheduler.domain.batch import ENDPOINTS, Batch, Endpoint
from scheduler.domain.ids import ItemIds
from scheduler.domain.public_ids import BATCH, shown_id
from scheduler.domain.status import BatchStatus
from scheduler.domain.submission import (
    DEFAULT_MAX_RETRIES,
    Ending,
    ExecutionMode,
    Progress,
    SourceFormat,
    Submission,
    Written,
)
from scheduler.ports.store import Store
from scheduler.ports.submissions import Result
from scheduler.services.files.files import Files
from scheduler.services.submissions.result_lines import in_one_line, json_string, result_line
from scheduler.services.submissions.spool_folder import SpoolFolder, SpoolStatus

CHUNK_RESULTS = 1_000
CHUNK_BYTES = 8 << 20
_ITEMS = 500
_NO_FILE = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Spooled:
    """One step: lines written; whether there may be more at once; what the folder says now."""

    lines: int
    more: bool
    status: SpoolStatus


class Spooling:
    """Writes one batch into its folder, step by step."""

    def __init__(self, store: Store, files: Files, folder: SpoolFolder, batch_id: UUID) -> None:
        self._store = store
        self._files = files
        self._folder = folder
        self._batch_id = batch_id
        self._ids = ItemIds(batch_id)

    async def step(self, submission: Submission, now: datetime) -> Spooled:
        """Bring the folder a little nearer to the record. Raises Unavailable: then open the folder again."""
        if not await asyncio.to_thread(lambda: self._folder.has_input):
            await self._write_input(submission)
        results = await self._results(submission)
        if results:
            await asyncio.to_thread(self._append, submission, results)
        # Final only when nothing was left to write.
        status = status_of(submission, self._folder.written, now, all_written=not results)
        await asyncio.to_thread(self._folder.tell, status)
        return Spooled(len(results), bool(results), status)

    def close(self) -> None:
        """Let go of the folder."""
        self._folder.close()

    async def _results(self, submission: Submission) -> list[Result]:
        if submission.progress is None:
            return []
        return list(
            await self._store.submissions.results(
                self._batch_id,
                after=self._folder.written.told_event,
                up_to=submission.progress.last_event,
                limit=CHUNK_RESULTS,
                most_bytes=CHUNK_BYTES,
            )
        )

    def _append(self, submission: Submission, results: list[Result]) -> None:
        output: list[bytes] = []
        errors: list[bytes] = []
        for result in results:
            line = result_line(submission, result, self._ids)
            (output if line.to_output else errors).append(line.text)
        self._folder.append(replace(self._folder.written, told_event=results[-1].event_no), output, errors)

    async def _write_input(self, submission: Submission) -> None:
        """The input as it was uploaded; when that is gone, or never was a file, the lines that the items say."""
        file = await self._files.get(submission.environment_id, submission.input_file_id)
        reading = None if file is None else await self._files.open(file)
        draft = await asyncio.to_thread(self._folder.begin_input)
        try:
            if reading is not None:
                async for piece in reading.pieces():
                    await asyncio.to_thread(draft.write, piece)
            else:
                await self._write_items(draft.write)
            await asyncio.to_thread(self._folder.end_input, draft)
        finally:
            draft.close()
            if reading is not None:
                reading.close()

    async def _write_items(self, write: Callable[[bytes], int]) -> None:
        after_seq = 0
        while page := await self._store.items.page(self._batch_id, after_seq=after_seq, limit=_ITEMS):
            lines = [
                b'{"custom_id": %s, "method": "POST", "url": %s, "body": %s}\n'
                % (json_string(item.custom_id), json_string(item.endpoint), in_one_line(item.request))
                for item in page
            ]
            await asyncio.to_thread(write, b"".join(lines))
            after_seq = page[-1].seq


def status_of(submission: Submission, written: Written, now: datetime, *, all_written: bool) -> SpoolStatus:
    """What the folder says of a batch. all_written: its results, as far as there are any."""
    progress = submission.progress
    failed = written.errors.lines
    return SpoolStatus(
        id=folder_name(submission),
        endpoint=submission.endpoint,
        status=_status(submission, failed, all_written=all_written),
        total_lines=0 if progress is None else progress.total,
        completed_lines=written.output.lines + failed,
        failed_lines=failed,
        created_at=int(submission.created_at.timestamp()),
        updated_at=int(now.timestamp()),
        # Not whether its batch was stopped: the end of its window stops it too, and nobody asked for that.
        cancel_requested=submission.due_ending is Ending.CANCELLED,
    )


def _status(
    submission: Submission, failed: int, *, all_written: bool
) -> Literal["pending", "in_progress", "completed", "failed", "cancelled"]:
    if submission.ending is None or not all_written:
        return "pending" if submission.progress is None else "in_progress"
    match submission.ending:
        case Ending.CANCELLED:
            return "cancelled"
        case Ending.FAILED | Ending.EXPIRED:
            return "failed"
        case Ending.COMPLETED:
            return "failed" if failed else "completed"


def as_submission(batch: Batch, endpoint: Endpoint) -> Submission:
    """A batch that did not come as a file, as if it had: so that it can be written like one. endpoint: of its items, or
    of the first where they differ."""
    stopped = batch.status is BatchStatus.CANCELLED
    ending = (Ending.CANCELLED if stopped else Ending.COMPLETED) if batch.ended else None
    return Submission(
        workspace_id=batch.workspace_id,
        environment_id=batch.environment_id,
        batch_id=batch.batch_id,
        api_key_id=batch.api_key_id,
        source_format=SourceFormat.OPENAI,
        execution_mode=ExecutionMode.HERE,
        input_file_id=_NO_FILE,
        endpoint=endpoint,
        completion_window="24h",
        fine_priority=batch.fine_priority or 0,
        max_retries=DEFAULT_MAX_RETRIES,
        metadata=None,
        output_expires_after_s=None,
        created_at=batch.created_at,
        expires_at=batch.created_at,
        model=None,
        stored=batch.stored,
        in_progress_at=batch.created_at,
        started_at=None,
        cancelling_at=batch.updated_at if stopped else None,
        expiring_at=None,
        ending=ending,
        ended_at=batch.completed_at,
        faults=(),
        written=Written(),
        output_file_id=None,
        error_file_id=None,
        progress=Progress(
            total=batch.stored,
            completed=batch.completed,
            failed=batch.failed,
            cancelled_items=batch.cancelled,
            last_event=batch.last_event,
            begun=batch.status is not BatchStatus.PENDING,
            cancelled=stopped,
            ended_at=batch.completed_at,
        ),
        wants_items=False,
    )


async def find(store: Store, batch_id: UUID) -> Submission | None:
    """A batch of any face and any environment; None if it does not exist."""
    found = await store.submissions.find([batch_id])
    if found:
        return found[0]
    batches = await store.shards.batches([batch_id])
    if not batches:
        return None
    first = await store.items.page(batch_id, after_seq=0, limit=1)
    return as_submission(batches[0], first[0].endpoint if first else ENDPOINTS[0])


def folder_name(submission: Submission) -> str:
    """The id by which the callers of a batch know it: its folder bears it, and `status.json` says it."""
    as_items = submission.input_file_id == _NO_FILE
    return str(submission.batch_id) if as_items else shown_id(BATCH, submission.batch_id)


async def open_spool(store: Store, files: Files, root: Path, submission: Submission) -> Spooling | None:
    """The folder of a batch below `root`, made or taken up again. None: another process writes it."""
    path = root / folder_name(submission)
    exists = await asyncio.to_thread(path.exists)
    folder = await asyncio.to_thread(SpoolFolder.reopen if exists else SpoolFolder.create, path)
    return None if folder is None else Spooling(store, files, folder, submission.batch_id)
