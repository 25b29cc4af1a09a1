"""The results of one submission: written into its part files while it runs, published as files when it ended."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal
from uuid import UUID

from scheduler.domain.file import BATCH_FILES_EXPIRE, NewFile, Purpose
from scheduler.domain.ids import ItemIds, uuid7
from scheduler.domain.submission import PartFile, Submission, Written
from scheduler.ports.files import Draft
from scheduler.ports.submissions import Result, SubmissionStore, WebhookEvent
from scheduler.services.files.files import Files
from scheduler.services.files.part_file import Part
from scheduler.services.submissions import events
from scheduler.services.submissions.result_lines import add_usage, result_line

CHUNK_RESULTS = 1_000
CHUNK_BYTES = 8 << 20
"""Results that are read and written at once."""
PROGRESS_S = 1.0
"""Progress is told no more often."""

Kind = Literal["output", "error"]


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: lines written, and whether it ended the submission. lost: it is another's to write now."""

    lines: int = 0
    ended: bool = False
    lost: bool = False


class Publishing:
    """Writes the results of one submission; of one task at a time, for as long as `holder` has its lease.

    Each step writes lines first and records them then: a crash between leaves bytes that the record does not know,
    which the next holder cuts off. folder: for the parts.
    """

    def __init__(self, batch_id: UUID, store: SubmissionStore, files: Files, folder: Path, holder: str) -> None:
        self._batch_id = batch_id
        self._store = store
        self._files = files
        self._holder = holder
        self._ids = ItemIds(batch_id)
        self._output = Part(part_path(folder, batch_id, "output"))
        self._errors = Part(part_path(folder, batch_id, "error"))
        self._written: Written | None = None
        self._told_s = float("-inf")

    async def step(self, submission: Submission, now: datetime, now_s: float) -> Step:
        """Write some results, or publish when all are written. now: wall time; now_s: monotonic. Raises Unavailable:
        then try again."""
        progress = submission.progress
        if progress is None:
            return Step()
        # The record may be another's by now: we lost the lease and got it again.
        if self._written != submission.written and not await self._begin(submission):
            return Step(lost=True)
        written = self._written or Written()
        results = await self._store.results(
            self._batch_id,
            after=written.told_event,
            up_to=progress.last_event,
            limit=CHUNK_RESULTS,
            most_bytes=CHUNK_BYTES,
        )
        if results:
            return await self._write(submission, written, results, now_s)
        if progress.ended_at is None:
            return await self._skip(written, progress.last_event)
        return await self._publish(submission, written, progress.ended_at, now)

    def close(self) -> None:
        """Let go of the parts; they stay for whoever comes next."""
        self._output.close()
        self._errors.close()

    async def _begin(self, submission: Submission) -> bool:
        recorded = submission.written
        if not await asyncio.to_thread(self._cut_back, recorded):
            if not await self._store.advance(self._batch_id, self._holder, recorded, Written(), []):
                return False
            recorded = Written()
            await asyncio.to_thread(self._cut_back, recorded)
        self._written = recorded
        return True

    def _cut_back(self, recorded: Written) -> bool:
        return self._output.begin(recorded.output) and self._errors.begin(recorded.errors)

    async def _skip(self, written: Written, last_event: int) -> Step:
        """Events that are no outcomes: its creation."""
        if last_event > written.told_event:
            following = replace(written, told_event=last_event)
            if not await self._store.advance(self._batch_id, self._holder, written, following, []):
                return Step(lost=True)
            self._written = following
        return Step()

    async def _write(self, submission: Submission, written: Written, results: Sequence[Result], now_s: float) -> Step:
        # Unknown until the record is made: after a failure the parts are cut back to it.
        self._written = None
        following = await asyncio.to_thread(self._append, submission, written, results)
        told = self._events(submission, results, now_s)
        if not await self._store.advance(self._batch_id, self._holder, written, following, told):
            return Step(lost=True)
        self._written = following
        return Step(lines=len(results))

    def _append(self, submission: Submission, written: Written, results: Sequence[Result]) -> Written:
        output: list[bytes] = []
        errors: list[bytes] = []
        usage = written.usage
        for result in results:
            line = result_line(submission, result, self._ids)
            (output if line.to_output else errors).append(line.text)
            usage = add_usage(usage, line.usage)
        return Written(
            told_event=results[-1].event_no,
            output=self._output.append(written.output, output),
            errors=self._errors.append(written.errors, errors),
            usage=usage,
        )

    def _events(self, submission: Submission, results: Sequence[Result], now_s: float) -> list[WebhookEvent]:
        if not submission.wants_items:
            return []
        told = [events.item_ended(submission, result, self._ids) for result in results]
        shown = [event for event in told if event is not None]
        if now_s - self._told_s >= PROGRESS_S:
            self._told_s = now_s
            shown.append(events.progressed(submission))
        return shown

    async def _publish(self, submission: Submission, written: Written, ended_at: datetime, now: datetime) -> Step:
        output = await self._keep(submission, "output", self._output, written.output, ended_at, now)
        errors = await self._keep(submission, "error", self._errors, written.errors, ended_at, now)
        ending = submission.due_ending
        # As it is shown then: all of it finished.
        told = events.ended(replace(submission, written=written), ending, now)
        if not await self._store.end(self._batch_id, self._holder, ending, now, output, errors, told):
            return Step(lost=True)
        await asyncio.to_thread(self._remove)
        return Step(ended=True)

    async def _keep(
        self, submission: Submission, kind: Kind, part: Part, recorded: PartFile, ended_at: datetime, now: datetime
    ) -> UUID | None:
        if not recorded.lines:
            return None
        kept_s = submission.output_expires_after_s
        new = NewFile(
            workspace_id=submission.workspace_id,
            environment_id=submission.environment_id,
            file_id=result_file_id(submission.batch_id, kind, ended_at),
            purpose=Purpose.BATCH_OUTPUT,
            filename=f"{events.shown_batch_id(submission.batch_id)}_{kind}.jsonl",
            created_at=now,
            expires_at=now + (BATCH_FILES_EXPIRE if kept_s is None else timedelta(seconds=kept_s)),
        )
        async with self._files.drafting() as draft:
            await asyncio.to_thread(_copy, part, recorded, draft)
            return (await self._files.keep(draft, new)).file_id

    def _remove(self) -> None:
        self._output.remove()
        self._errors.remove()


def part_path(folder: Path, batch_id: UUID, kind: Kind) -> Path:
    """Where a part lies."""
    return folder / f"{batch_id.hex}.{kind}"


def result_file_id(batch_id: UUID, kind: Kind, ended_at: datetime) -> UUID:
    """The id of a result file: always the same, so that publishing again after a crash makes no second one."""
    seed = hashlib.blake2b(batch_id.bytes + kind.encode(), digest_size=10, person=b"brim-results").digest()
    return uuid7(int(ended_at.timestamp() * 1000), seed)


def _copy(part: Part, recorded: PartFile, draft: Draft) -> None:
    for piece in part.pieces(recorded):
        draft.write(piece)
