"""Create a batch from lines as they come: the first the batch, each other one an item. Memory follows no length.

Held: nothing is seen or runs before all of it is here and good. Early: items run as they come, bad lines are recorded
as FAILED items. Whatever stops an upload tears it; the sealer does the rest, in a worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog

from scheduler.domain.batch import Batch, NewBatch
from scheduler.domain.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable
from scheduler.domain.ids import uuid7
from scheduler.domain.setup import ApiKey
from scheduler.ports.store import Store
from scheduler.services.batches.creation import IDEMPOTENCY_KEY, Created
from scheduler.services.batches.envelope import EnvelopeReader, Seal
from scheduler.services.callers.callback_guard import Resolve, resolve_host
from scheduler.services.callers.keys import Principal, key_behind
from scheduler.services.callers.tenants import Tenants
from scheduler.services.items.terms import terms_of
from scheduler.services.reading.json_text import JsonText
from scheduler.services.reading.problems import Problems
from scheduler.services.uploads.body import pieces_of
from scheduler.services.uploads.check import Checked, UploadCheck
from scheduler.services.uploads.lines import Line, UploadLines
from scheduler.services.uploads.sink import EarlySink, HeldSink, Openers
from scheduler.settings import Settings

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """One upload. encoding: of the Content-Encoding header. early: items may run as they come."""

    workspace_id: UUID
    environment_id: UUID
    principal: Principal
    body: AsyncIterator[bytes]
    encoding: str = ""
    early: bool = False
    idempotency_key: str | None = None

    @property
    def key(self) -> ApiKey | None:
        """The API key that asks; None for the admin."""
        return key_behind(self.principal)


class Uploads:
    """Creates batches from uploads."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        tenants: Tenants,
        openers: Openers,
        seal: Seal,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        resolve: Resolve = resolve_host,
    ) -> None:
        self._settings = settings
        self._store = store
        self._tenants = tenants
        self._openers = openers
        self._seal = seal
        self._now = now
        self._resolve = resolve
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="brim-upload")

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def create(self, request: UploadRequest) -> Created:
        """The batch: complete, checked and open; or the earlier one of the same Idempotency-Key and body.

        Raises what BatchCreation.create raises, and Malformed when the body is cut short, silent for too long or no
        gzip. Then nothing of a held upload runs, and an early batch is sealed as it is.
        """
        key, batch_id = request.idempotency_key, uuid7(time.time_ns() // 1_000_000, os.urandom(10))
        if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
            raise Invalid("Idempotency-Key must have 1 to 255 visible ASCII characters.")
        reading = _Reading(request, self._settings, self._threads)
        async with aclosing(reading.lines()) as lines:
            if key is None:
                return Created(await self._create(request, reading, lines, batch_id))
            environment_id = request.environment_id
            await self._tenants.require(request.principal, request.workspace_id, environment_id)
            earlier = await self._store.uploads.reserve_idempotency(environment_id, key, batch_id)
            if earlier is not None:
                async for _ in lines:
                    pass
                if reading.digest != earlier.body_hash:
                    raise Conflict("This Idempotency-Key was used with another body.", code="IDEMPOTENCY_CONFLICT")
                found = await self._store.batches.get(environment_id, earlier.batch_id)
                if found is None:
                    raise NotFound("The batch is gone.", code="COMPLETION_BATCH_NOT_FOUND")
                return Created(found, earlier=True)
            try:
                return Created(await self._create(request, reading, lines, batch_id))
            except BaseException:
                # Without effect when the batch exists by now: an early one, or one whose answer got lost.
                with contextlib.suppress(Unavailable):
                    await asyncio.shield(self._store.batches.release_idempotency(environment_id, key, batch_id))
                raise

    async def _create(
        self, request: UploadRequest, reading: _Reading, lines: AsyncIterator[list[Line]], batch_id: UUID
    ) -> Batch:
        first, rest = await _first_line(lines)
        batch = await self._envelope(request, first, batch_id)
        check = await self._check_of(request, batch)
        new_sink = EarlySink if request.early else HeldSink
        sink = new_sink(batch, self._store, self._openers, request.key)
        try:
            await sink.add(await reading.run(lambda: check.check(rest)))
            async for some in lines:
                checked: list[Checked] = await reading.run(partial(check.check, some)) if some else []
                await sink.add(checked)
            created = await sink.finish(request.idempotency_key, reading.digest)
        except BaseException as error:
            _log.info("upload.given_up", batch_id=str(batch_id), error=type(error).__name__)
            with contextlib.suppress(Unavailable):
                await asyncio.shield(sink.tear())
            raise
        _log.info("batch.created", batch_id=str(batch_id), type=created.type.value, items=created.total_items)
        return created

    async def _envelope(self, request: UploadRequest, line: Line, batch_id: UUID) -> NewBatch:
        if line.text is None:
            raise TooLarge(f"line {line.number}: is longer than {self._settings.max_line_bytes} bytes")
        problems = Problems()
        document = JsonText(line.text)
        fields = document.fields()
        if "type" not in fields and "request" in fields:
            raise Invalid(
                'line 1: must be the batch, such as {"type": "ASYNC"}; this one is an item, and these follow it.'
            )
        if "items" in fields:
            problems.add("items", "come after the first line, one a line")
        envelope = await EnvelopeReader(document, fields, problems).read(
            self._now(), self._settings.callback_allow_hosts, self._seal, self._resolve
        )
        problems.raise_if_any()
        await self._tenants.require(request.principal, request.workspace_id, request.environment_id)
        return envelope.new_batch(request.workspace_id, request.environment_id, batch_id, request.key)

    async def _check_of(self, request: UploadRequest, batch: NewBatch) -> UploadCheck:
        resources = await self._store.setup.resources(request.environment_id)
        connections = await self._store.setup.connections(request.environment_id)
        pools = next(iter(await self._store.setup.pool_definitions(request.environment_id)), None)
        terms = terms_of(resources, connections, request.key, batch.capacity, pools)
        return UploadCheck(terms, self._settings.default_output_tokens, self._settings.max_line_bytes)


class _Reading:
    """The lines of a request, unpacked and cut in a thread."""

    def __init__(self, request: UploadRequest, settings: Settings, threads: ThreadPoolExecutor) -> None:
        self._body = request.body
        self._silence_s = settings.upload_silence_s
        self._lines = UploadLines(request.encoding, settings.max_line_bytes)
        self._threads = threads

    @property
    def digest(self) -> bytes:
        """SHA-256 of the unpacked body so far."""
        return self._lines.digest

    async def lines(self) -> AsyncGenerator[list[Line], None]:
        """Lines as they come; an empty list for a moment without any."""
        async with aclosing(pieces_of(self._body, self._silence_s)) as pieces:
            async for piece in pieces:
                if piece is None:
                    yield []
                    continue
                self._lines.feed(piece)
                while (some := await self.run(self._lines.step)) is not None:
                    if some:
                        yield some
        if last := self._lines.end():
            yield last

    async def run(self, work: Callable[[], T]) -> T:
        """Do a step of work in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _first_line(lines: AsyncIterator[list[Line]]) -> tuple[Line, list[Line]]:
    async for some in lines:
        if some:
            return some[0], some[1:]
    raise Invalid("The first line must be the batch, without its items.")
