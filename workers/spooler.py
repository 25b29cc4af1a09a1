"""The spooler: writes every batch of the OpenAI face into a folder of its own while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import structlog

from scheduler.domain.errors import Unavailable
from scheduler.domain.ids import uuid7
from scheduler.domain.public_ids import BATCH, read_id
from scheduler.domain.submission import Submission
from scheduler.ports.store import Store
from scheduler.services.files.files import Files
from scheduler.services.submissions.spool_folder import read_status, unfinished
from scheduler.services.submissions.spooling import Spooling, folder_name, open_spool

IDLE_S = 0.5
MARGIN_MS = 600_000
"""Ids carry the clock of the process that made them: so far back we look for new ones again and again."""
MOST = 128
"""Folders that one process holds at once; others take the rest, or they wait."""
_CHUNK = 500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Round:
    """One round: batches that this process writes, lines written, batches brought to their end."""

    held: int = 0
    lines: int = 0
    ended: int = 0


class Spooler:
    """Any number of processes: each batch is written by the one that holds its folder's lock, which ends with that
    process. From the moment it begins it spools what runs and what comes; what had ended before is left to
    `brim-server export`."""

    def __init__(self, store: Store, files: Files, root: Path, utc_now: Callable[[], datetime]) -> None:
        self._store = store
        self._files = files
        self._root = root
        self._utc_now = utc_now
        self._todo: set[UUID] = set()
        self._done: set[UUID] = set()
        self._open: dict[UUID, Spooling] = {}
        self._seen_up_to: UUID | None = None
        self._busy = False

    def pause_s(self) -> float:
        """Until the next round."""
        return 0.0 if self._busy else IDLE_S

    async def run_once(self) -> Round:
        """One step of each batch that is not in its folder entirely."""
        await self._look()
        lines = ended = 0
        todo = sorted(self._todo)
        for start in range(0, len(todo), _CHUNK):
            for submission in await self._store.submissions.find(todo[start : start + _CHUNK]):
                step_lines, final = await self._step(submission)
                lines, ended = lines + step_lines, ended + final
        self._busy = lines > 0
        return Round(len(self._open), lines, ended)

    def close(self) -> None:
        """Let go of all folders: another process may go on at once."""
        for spooling in self._open.values():
            spooling.close()
        self._open.clear()

    async def _look(self) -> None:
        """Find what is to be spooled: at first all that has not ended, in the record or in its folder."""
        now_ms = int(self._utc_now().timestamp() * 1000)
        if self._seen_up_to is None:
            found = await self._store.submissions.open()
            names = await asyncio.to_thread(lambda: list(unfinished(self._root)))
            self._todo |= {*found, *(each for name in names if (each := read_id(BATCH, name)) is not None)}
            self._seen_up_to = uuid7(now_ms, bytes(10))
        margin = uuid7(max(0, now_ms - MARGIN_MS), bytes(10))
        after = min(self._seen_up_to, margin)
        while chunk := await self._store.submissions.since(after, _CHUNK):
            self._todo |= set(chunk) - self._done
            after = chunk[-1]
        self._seen_up_to = uuid7(now_ms, bytes(10))
        self._done = {each for each in self._done if each > margin}

    async def _step(self, submission: Submission) -> tuple[int, bool]:
        batch_id = submission.batch_id
        try:
            spooling = self._open.get(batch_id) or await self._take(submission)
            if spooling is None:
                return 0, False
            step = await spooling.step(submission, self._utc_now())
        except Unavailable as problem:
            self._drop(batch_id)
            _log.warning("spool.waits", batch_id=str(batch_id), reason=problem.message)
            return 0, False
        if step.status.is_final:
            self._finish(batch_id)
        return step.lines, step.status.is_final

    async def _take(self, submission: Submission) -> Spooling | None:
        """Its folder, unless another process writes it, or wrote it to its end."""
        batch_id = submission.batch_id
        status = await asyncio.to_thread(read_status, self._root / folder_name(submission))
        if status is not None and status.is_final:
            self._finish(batch_id)
            return None
        if len(self._open) >= MOST:
            return None
        taken = await open_spool(self._store, self._files, self._root, submission)
        if taken is not None:
            self._open[batch_id] = taken
        return taken

    def _finish(self, batch_id: UUID) -> None:
        self._drop(batch_id)
        self._todo.discard(batch_id)
        self._done.add(batch_id)

    def _drop(self, batch_id: UUID) -> None:
        spooling = self._open.pop(batch_id, None)
        if spooling is not None:
            spooling.close()
