"""Create a batch: check everything, store it whole, open it in the engine."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import structlog
from msgspec import Raw

from scheduler.domain.batch import Batch, NewItem
from scheduler.domain.errors import Invalid, NotAuthorized, NotFound, TooLarge, Unavailable
from scheduler.domain.ids import uuid7
from scheduler.domain.setup import ApiKey
from scheduler.ports.store import Store
from scheduler.services.batches.envelope import Envelope, EnvelopeReader, Seal
from scheduler.services.batches.opening import Opening, first_windows
from scheduler.services.callers.callback_guard import Resolve, resolve_host
from scheduler.services.callers.keys import Principal, key_behind
from scheduler.services.callers.tenants import Tenants
from scheduler.services.items.check import ItemCheck
from scheduler.services.items.terms import ResourceTerms, terms_of
from scheduler.services.reading.json_split import split_list
from scheduler.services.reading.json_text import Fields, JsonText, elements_of, is_null
from scheduler.services.reading.meant import did_you_mean
from scheduler.services.reading.problems import Problems
from scheduler.settings import Settings

_INLINE_BYTES = 65_536
"""Bodies up to here are checked on the event loop (a few ms at most), larger ones in a thread."""
_CHUNK_ITEMS = 200
_CHUNK_BYTES = 1 << 20
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """One create call. body: the JSON text as it came. idempotency_key: of the header, if any."""

    workspace_id: UUID
    environment_id: UUID
    principal: Principal
    body: bytes
    idempotency_key: str | None = None

    @property
    def key(self) -> ApiKey | None:
        """The API key that asks; None for the admin."""
        return key_behind(self.principal)


@dataclass(frozen=True, slots=True)
class Created:
    """A stored batch. earlier: a request before this one, of the same Idempotency-Key, made it."""

    batch: Batch
    earlier: bool = False


@dataclass(frozen=True, slots=True)
class _Read:
    """A readable body. items: None when it has no list of them."""

    document: JsonText
    fields: Fields
    items: list[Raw] | None
    body_hash: bytes


class BatchCreation:
    """Creates batches. Large bodies are checked in chunks in a thread, so the event loop stays free."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        opening: Opening,
        tenants: Tenants,
        seal: Seal,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        resolve: Resolve = resolve_host,
    ) -> None:
        self._settings = settings
        self._store = store
        self._opening = opening
        self._tenants = tenants
        self._seal = seal
        self._now = now
        self._resolve = resolve
        # The work holds the interpreter's lock, so more threads would not make it faster; two let a small
        # batch pass a large one.
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="brim-check")

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def create(self, request: CreateRequest) -> Created:
        """The stored batch: a new one, or the earlier one of the same Idempotency-Key and body.

        Raises Malformed, TooLarge, Invalid, NotFound, NotAuthorized in this order, with nothing stored;
        Conflict for a key in use; Unavailable when Postgres is down. Whether Redis is up does not matter.
        """
        key = request.idempotency_key
        if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
            raise Invalid("Idempotency-Key must have 1 to 255 visible ASCII characters.")
        large = len(request.body) > _INLINE_BYTES
        read = await self._maybe_threaded(large, lambda: self._read(request.body))
        batch_id = uuid7(time.time_ns() // 1_000_000, os.urandom(10))
        if key is None:
            return Created(await self._create(request, read, batch_id, large))
        environment_id = request.environment_id
        await self._tenants.require(request.principal, request.workspace_id, environment_id)
        reservation = await self._store.batches.reserve_idempotency(environment_id, key, read.body_hash, batch_id)
        if reservation.replay:
            earlier = await self._store.batches.get(environment_id, reservation.batch_id)
            if earlier is None:
                raise NotFound("The batch is gone.", code="COMPLETION_BATCH_NOT_FOUND")
            return Created(earlier, earlier=True)
        try:
            return Created(await self._create(request, read, batch_id, large, key))
        except (Unavailable, asyncio.CancelledError):
            # It may have been stored all the same: the key stays with it, or is taken over after 30 s.
            raise
        except BaseException:
            await self._store.batches.release_idempotency(environment_id, key, batch_id)
            raise

    def _read(self, body: bytes) -> _Read:
        items: list[Raw] | None
        split = split_list(body, "items")
        if split is not None:
            document, fields, items = split.document, split.fields, split.elements
        else:
            document = JsonText(body)
            fields = document.fields()
            raw = fields.get("items")
            items = None if raw is None or is_null(raw) else elements_of(raw)
        if items is not None and len(items) > self._settings.max_batch_items:
            raise TooLarge(f"A batch may have at most {self._settings.max_batch_items} items, not {len(items)}.")
        return _Read(document, fields, items, hashlib.sha256(body).digest())

    async def _create(
        self, request: CreateRequest, read: _Read, batch_id: UUID, large: bool, key: str | None = None
    ) -> Batch:
        problems = Problems()
        envelope = await EnvelopeReader(read.document, read.fields, problems).read(
            self._now(), self._settings.callback_allow_hosts, self._seal, self._resolve
        )
        items = await self._check_items(request, read, envelope, problems, large)
        new_batch = envelope.new_batch(request.workspace_id, request.environment_id, batch_id, request.key)
        batch, flows = await self._store.batches.create(new_batch, items, idempotency_key=key)
        _log.info("batch.created", batch_id=str(batch_id), type=batch.type.value, items=len(items))
        windows = first_windows(items, self._settings.window_entries)
        try:
            await self._opening.open_batch(batch, flows, windows, key=request.key)
        except Exception:
            # It is stored, so it was created, whatever comes now; the reconciler opens it.
            _log.exception("batch.opening_failed", batch_id=str(batch_id))
        return batch

    async def _check_items(
        self, request: CreateRequest, read: _Read, envelope: Envelope, problems: Problems, large: bool
    ) -> list[NewItem]:
        """The items, all of them good. Raises in the contract's order: what is invalid, what does not
        exist, what the key may not use."""
        if not read.items:
            missing = read.items is None and "items" not in read.fields
            problems.add("items", "is required" if missing else "must be a list of at least one item")
            problems.raise_if_any()
        resources = await self._store.setup.resources(request.environment_id)
        connections = await self._store.setup.connections(request.environment_id)
        pools = next(iter(await self._store.setup.pool_definitions(request.environment_id)), None)
        terms = terms_of(resources, connections, request.key, envelope.capacity, pools)
        check = ItemCheck(read.document, terms, self._settings.default_output_tokens, problems)
        items: list[NewItem] = []
        for start, chunk in _chunks(read.items or []):
            items += await self._maybe_threaded(large, lambda: check.check(start, chunk))  # noqa: B023 - run at once
        problems.raise_if_any()
        await self._tenants.require(request.principal, request.workspace_id, request.environment_id)
        if check.unknown:
            names = list(check.unknown)[:100]
            raise NotFound(
                f"There is no resource {', '.join(names[:5])}.{did_you_mean(names[0], _named(terms))}",
                code="AI_RESOURCE_NOT_FOUND",
                details={"resources": names},
            )
        if check.forbidden:
            names = list(check.forbidden)[:100]
            raise NotAuthorized(
                f"The API key may not use {', '.join(names[:5])}.",
                code="API_KEY_RESOURCE_NOT_AUTHORIZED",
                details={"resources": names},
            )
        return items

    async def _maybe_threaded(self, large: bool, work: Callable[[], T]) -> T:
        if not large:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _named(terms: Mapping[str, ResourceTerms]) -> set[str]:
    """The names of what the key may use."""
    return {each.resource.name for each in terms.values() if each.allowed}


def _chunks(raws: Sequence[Raw]) -> Iterator[tuple[int, Sequence[Raw]]]:
    """(index of the first, items) of chunks that take a few ms each."""
    start, size = 0, 0
    for position, raw in enumerate(raws):
        size += len(memoryview(raw))
        if position + 1 - start >= _CHUNK_ITEMS or size >= _CHUNK_BYTES:
            yield start, raws[start : position + 1]
            start, size = position + 1, 0
    if start < len(raws):
        yield start, raws[start:]
