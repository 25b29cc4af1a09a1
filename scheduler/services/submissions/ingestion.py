"""From the input file of a submission to a batch: read, checked, stored as it comes; nothing runs unless all is good.

Memory follows no length of the file. Whatever stops it (a crash, a lost lease, a cancel), the next one who takes the
submission deletes what was stored and begins anew, or ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from scheduler.domain.batch import NewItem
from scheduler.domain.errors import Conflict, NotFound, Unavailable
from scheduler.domain.setup import ApiKey
from scheduler.domain.submission import Ending, LineFault
from scheduler.ports.files import Reading
from scheduler.ports.store import Store
from scheduler.ports.submissions import Gripped
from scheduler.services.batches.opening import Opening
from scheduler.services.files.files import Files
from scheduler.services.items.terms import terms_of
from scheduler.services.submissions import events
from scheduler.services.submissions.file_check import MOST_FAULTS, Checked, FileCheck
from scheduler.services.uploads.lines import UploadLines
from scheduler.settings import Settings

CHUNK_ITEMS = 2_000
CHUNK_BYTES = 2 << 20
"""Items of one COPY."""
TOUCH_LINES = 20_000
"""While only bad lines come, nothing is stored that would keep the lease."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a submission: lines that were looked at, and whether it is a batch now."""

    lines: int
    became: bool


class Ingestion:
    """Checks and stores submissions. threads: where lines are cut and checked."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        files: Files,
        opening: Opening,
        threads: ThreadPoolExecutor,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        self._opening = opening
        self._threads = threads
        self._now = now

    async def ingest(self, grip: Gripped) -> Ingested:
        """Bring one submission on its way: a batch, FAILED or CANCELLED. When the lease is lost or it was cancelled
        meanwhile it stays as it is, for the next one who takes it. Raises Unavailable."""
        try:
            return await self._ingest(grip)
        except Conflict:
            _log.info("submission.interrupted", batch_id=str(grip.submission.batch_id))
            await grip.let_go()
            return Ingested(0, False)
        except (Unavailable, asyncio.CancelledError):
            # Also when the process ends: the next one need not wait for the lease to run out.
            with contextlib.suppress(Unavailable):
                await grip.let_go()
            raise

    async def _ingest(self, grip: Gripped) -> Ingested:
        submission = grip.submission
        await grip.clear()
        if submission.cancelling_at is not None:
            await grip.give_up(events.ended(submission, Ending.CANCELLED, self._now()))
            return Ingested(0, False)
        key = await self._key(grip)
        if key is None and submission.api_key_id is not None:
            # What it might use nobody knows any more.
            gone = LineFault("invalid_request", "The API key of the batch does not exist any more.", None, None)
            await self._refuse(grip, [gone])
            return Ingested(0, False)
        check = await self._check_of(grip, key)
        file = await self._files.get(submission.environment_id, submission.input_file_id)
        reading = None if file is None else await self._files.open(file)
        if reading is None:
            gone = LineFault("invalid_request", "The input file does not exist any more.", "input_file_id", None)
            faults = [gone]
        else:
            try:
                faults = await _Pass(self, grip, check).over(reading)
            finally:
                reading.close()
        if faults:
            await self._refuse(grip, faults)
            return Ingested(check.lines, False)
        return await self._become(grip, check, key)

    async def run(self, work: Callable[[], list[Checked]]) -> list[Checked]:
        """Check in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @property
    def most_line_bytes(self) -> int:
        """The longest line that is looked at."""
        return self._settings.max_line_bytes

    async def _become(self, grip: Gripped, check: FileCheck, key: ApiKey | None) -> Ingested:
        submission = grip.submission
        model = next(iter(check.models)) if len(check.models) == 1 else None
        try:
            batch, flows = await grip.become(model, events.queued(submission, grip.stored))
        except NotFound as error:
            # A resource was deleted while we read.
            await self._refuse(grip, [LineFault("model_not_found", error.message, "body.model", None)])
            return Ingested(check.lines, False)
        _log.info("submission.accepted", batch_id=str(batch.batch_id), items=batch.total_items)
        await self._opening.open_batch(batch, flows, key=key)
        return Ingested(check.lines, True)

    async def _refuse(self, grip: Gripped, faults: Sequence[LineFault]) -> None:
        await grip.clear()
        await grip.refuse(faults[:MOST_FAULTS], events.ended(grip.submission, Ending.FAILED, self._now()))
        _log.info("submission.refused", batch_id=str(grip.submission.batch_id), faults=len(faults))

    async def _key(self, grip: Gripped) -> ApiKey | None:
        submission = grip.submission
        if submission.api_key_id is None:
            return None
        return await self._store.setup.api_key(submission.environment_id, submission.api_key_id)

    async def _check_of(self, grip: Gripped, key: ApiKey | None) -> FileCheck:
        submission, settings = grip.submission, self._settings
        resources = await self._store.setup.resources(submission.environment_id)
        connections = await self._store.setup.connections(submission.environment_id)
        pools = next(iter(await self._store.setup.pool_definitions(submission.environment_id)), None)
        return FileCheck(
            submission.endpoint,
            terms_of(resources, connections, key, (), pools),
            settings.default_output_tokens,
            settings.max_file_lines,
            settings.max_line_bytes,
        )


class _Pass:
    """One reading of an input. While good lines are stored, the next ones are checked."""

    def __init__(self, ingestion: Ingestion, grip: Gripped, check: FileCheck) -> None:
        self._ingestion = ingestion
        self._grip = grip
        self._check = check
        self._items: list[NewItem] = []
        self._bytes = 0
        self._faults: list[LineFault] = []
        self._untouched = 0
        self._writing: asyncio.Task[None] | None = None

    async def over(self, reading: Reading) -> list[LineFault]:
        """Store the items of a file that is good; otherwise what is wrong with it, in order, up to a cap."""
        lines = UploadLines("", self._ingestion.most_line_bytes)

        def step() -> list[Checked]:
            checked: list[Checked] = []
            while (some := lines.step()) is not None:
                checked += self._check.check(some)
            return checked

        try:
            async with aclosing(_pieces(reading)) as pieces:
                async for piece in pieces:
                    lines.feed(piece)
                    await self._take(await self._ingestion.run(step))
                    if self._check.too_many or len(self._faults) >= MOST_FAULTS:
                        break
                else:
                    await self._take(await self._ingestion.run(partial(_last, self._check, lines)))
            if self._items and not self._faults:
                await self._write()
            await self._written()
        finally:
            if self._writing is not None:
                await asyncio.wait({self._writing})
                self._writing.exception()
        whole = self._check.ends()
        return self._faults if whole is None else [whole, *self._faults]

    async def _take(self, checked: Sequence[Checked]) -> None:
        for each in checked:
            if isinstance(each, LineFault):
                self._faults.append(each)
            elif not self._faults:
                self._items.append(each)
                self._bytes += len(each.request)
        self._untouched += len(checked)
        if self._faults:
            if self._untouched >= TOUCH_LINES:
                self._untouched = 0
                await self._written()
                await self._grip.touch()
        elif len(self._items) >= CHUNK_ITEMS or self._bytes >= CHUNK_BYTES:
            await self._write()

    async def _write(self) -> None:
        await self._written()
        items, self._items, self._bytes = self._items, [], 0
        self._untouched = 0
        self._writing = asyncio.create_task(self._append(items))

    async def _append(self, items: list[NewItem]) -> None:
        await self._grip.append(items)

    async def _written(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing


async def _pieces(reading: Reading) -> AsyncGenerator[bytes, None]:
    async for piece in reading.pieces():
        yield piece


def _last(check: FileCheck, lines: UploadLines) -> list[Checked]:
    return check.check(lines.end())
