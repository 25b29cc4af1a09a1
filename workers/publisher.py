"""The publisher: writes the results of submissions as they come, publishes those of ended ones, stops overdue ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import structlog

from scheduler.domain.errors import Unavailable
from scheduler.domain.submission import Ending, Submission
from scheduler.ports.submissions import SubmissionStore
from scheduler.services.files.files import Files
from scheduler.services.submissions import events
from scheduler.services.submissions.publishing import Publishing, Step

MOST = 1_000
"""Submissions of one process."""
OPEN = 100
"""Submissions whose parts are kept open; those of others are opened, and compared with their record, when needed."""
PAUSE_S = 0.25
"""Between two rounds in which nothing came."""
IDLE_S = 1.0
"""The same while nothing runs."""
REST_S = 2.0
"""A submission that could not be served (the disk is full) is left alone for so long; the others go on."""
SWEEP_S = 600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """One round: submissions that were looked at, lines written, submissions ended or stopped by their deadline."""

    held: int = 0
    lines: int = 0
    ended: int = 0
    expired: int = 0


class Publisher:
    """Holds submissions by lease, so that one process writes each; a few steps of each in turn.

    folder: for parts. lease_s: so much later another process goes on where a dead one stopped. utc_now: wall time;
    clock: monotonic seconds. on_deliveries: webhooks may have been written.
    """

    def __init__(
        self,
        store: SubmissionStore,
        files: Files,
        folder: Path,
        holder: str,
        lease_s: float,
        utc_now: Callable[[], datetime],
        clock: Callable[[], float],
        on_deliveries: Callable[[], None],
    ) -> None:
        self._store = store
        self._files = files
        self._folder = folder
        self._holder = holder
        self._lease_s = lease_s
        self._utc_now = utc_now
        self._clock = clock
        self._on_deliveries = on_deliveries
        self._writing: dict[UUID, Publishing] = {}
        self._busy = self._holding = False
        self._resting: dict[UUID, float] = {}
        self._swept_s = float("-inf")

    def pause_s(self) -> float:
        """Until the next round."""
        if self._busy:
            return 0.0
        return PAUSE_S if self._holding else IDLE_S

    async def run_once(self) -> Published:
        """One step of each submission that is ours."""
        held = await self._store.hold(self._holder, self._lease_s, MOST)
        self._holding = bool(held.batch_ids)
        self._forget(held.batch_ids)
        lines = ended = expired = 0
        for submission in held.due:
            if self._resting.get(submission.batch_id, float("-inf")) > self._clock():
                continue
            try:
                expired += await self._stop_overdue(submission)
                step = await self._step(submission)
            except Unavailable as problem:
                self._drop(submission.batch_id)
                self._resting[submission.batch_id] = self._clock() + REST_S
                _log.warning("submission.waits", batch_id=str(submission.batch_id), reason=problem.message)
                continue
            lines, ended = lines + step.lines, ended + step.ended
        self._busy = bool(lines or ended)
        if self._busy:
            self._on_deliveries()
        await self._sweep()
        return Published(len(held.batch_ids), lines, ended, expired)

    async def let_go(self) -> None:
        """The process ends: another may go on at once."""
        self._forget(set())
        with contextlib.suppress(Unavailable):
            await self._store.let_go(self._holder)

    async def _step(self, submission: Submission) -> Step:
        batch_id, progress = submission.batch_id, submission.progress
        if submission.started_at is None and progress is not None and progress.begun:
            await self._store.start(batch_id, self._holder, events.started(submission))
        writing = self._writing.pop(batch_id, None)
        if writing is None:
            writing = Publishing(batch_id, self._store, self._files, self._folder, self._holder)
        self._writing[batch_id] = writing  # last: it was used last
        if len(self._writing) > OPEN:
            self._drop(next(iter(self._writing)))
        step = await writing.step(submission, self._utc_now(), self._clock())
        if step.ended or step.lost:
            self._drop(batch_id)
        if step.ended:
            _log.info("submission.ended", batch_id=str(batch_id), ending=submission.due_ending.value)
        return step

    async def _stop_overdue(self, submission: Submission) -> bool:
        if submission.expires_at > self._utc_now() or submission.due_ending is not Ending.COMPLETED:
            return False
        if submission.progress is None or submission.progress.ended_at is not None:
            return False
        # The canceller does the rest: it makes the flows dead and records what was left.
        stopped = await self._store.stop(submission.environment_id, submission.batch_id, expired=True)
        if stopped:
            _log.info("submission.expired", batch_id=str(submission.batch_id))
        return stopped

    async def _sweep(self) -> None:
        """Remove parts of submissions that ended elsewhere."""
        if self._clock() - self._swept_s < SWEEP_S:
            return
        self._swept_s = self._clock()
        parts = await asyncio.to_thread(_parts, self._folder)
        if parts:
            live = await self._store.unended(sorted({batch_id for batch_id, _ in parts}))
            await asyncio.to_thread(_remove, [path for batch_id, path in parts if batch_id not in live])

    def _forget(self, kept: Set[UUID]) -> None:
        for batch_id in self._writing.keys() - kept:
            self._drop(batch_id)
        self._resting = {batch_id: until_s for batch_id, until_s in self._resting.items() if batch_id in kept}

    def _drop(self, batch_id: UUID) -> None:
        writing = self._writing.pop(batch_id, None)
        if writing is not None:
            writing.close()


def _parts(folder: Path) -> list[tuple[UUID, Path]]:
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(ValueError):
            found.append((UUID(path.name.partition(".")[0]), path))
    return found


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
