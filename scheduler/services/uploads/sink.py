"""Where checked lines go: into a batch that is held until it is complete, or into one that runs already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from scheduler.domain.batch import Batch, NewBatch, NewItem
from scheduler.domain.errors import Invalid, InvariantBroken, Unavailable
from scheduler.domain.outcome import ItemOutcome
from scheduler.domain.setup import ApiKey
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.domain.work import Doorbell
from scheduler.ports.engine import Engine
from scheduler.ports.flows import StoredFlow
from scheduler.ports.store import Store
from scheduler.ports.uploads import Appended, Upload
from scheduler.services.batches.opening import Opening
from scheduler.services.budgets.limits import flow_ref
from scheduler.services.callers.tenants import Tenants
from scheduler.services.shards.access import Shards
from scheduler.services.uploads.check import BadLine, Checked, Refusals, placeholder
from scheduler.services.uploads.extension import Extension

CHUNK_ITEMS = 2_000
CHUNK_BYTES = 2 << 20
"""Items of one COPY."""
TOUCH_S = 10.0
"""A slow upload shows that often that it lives."""
EARLY_S = 0.5
"""Items of an early upload wait no longer than about this for others to be stored with them."""
_MOST_BAD_AHEAD = 1_000
"""An early upload whose first lines are all bad is refused: it has no item that it could be a batch of."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Openers:
    """What makes stored items claimable."""

    engine: Engine
    tenants: Tenants
    shards: Shards
    opening: Opening
    extension: Extension


class HeldSink:
    """Stores items unseen; the batch is made at the end. One COPY runs while the next lines are read."""

    def __init__(self, batch: NewBatch, store: Store, openers: Openers, key: ApiKey | None) -> None:
        self._batch = batch
        self._store = store
        self._openers = openers
        self._key = key
        self._upload: Upload | None = None
        self._items: list[NewItem] = []
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._touched_s = time.monotonic()
        self._refusals = Refusals()

    async def add(self, checked: list[Checked]) -> None:
        """Take some lines; none after a moment of silence. After a bad one the others are only checked."""
        for each in checked:
            if isinstance(each, BadLine):
                self._refusals.add(each)
            elif not self._refusals.count:
                self._items.append(each)
                self._bytes += len(each.request)
        if len(self._items) >= CHUNK_ITEMS or self._bytes >= CHUNK_BYTES:
            await self._write()
        elif self._upload is not None and time.monotonic() - self._touched_s > TOUCH_S:
            await self._written()
            await self._upload.touch()
            self._touched_s = time.monotonic()

    async def finish(self, idempotency_key: str | None, body_hash: bytes) -> Batch:
        """The batch, open in the engine. Raises Invalid and others for bad lines, or when there is no item."""
        self._refusals.raise_if_any()
        if self._items:
            await self._write()
        await self._written()
        if self._upload is None:
            raise Invalid("items: at least one must follow the first line.")
        batch, flows = await self._upload.finish(self._batch.environment_id, idempotency_key, body_hash)
        self._upload = None
        await self._openers.opening.open_batch(batch, flows, key=self._key)
        return batch

    async def tear(self) -> None:
        """Give up. What was stored is swept away later."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
        if self._upload is not None:
            await self._upload.tear()

    async def _write(self) -> None:
        await self._written()
        if self._upload is None:
            self._upload = await self._store.uploads.open(self._batch, early=False)
        items, self._items, self._bytes = self._items, [], 0
        self._writing = asyncio.create_task(_append(self._upload, items))
        self._touched_s = time.monotonic()

    async def _written(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing


async def _append(upload: Upload, items: list[NewItem]) -> None:
    await upload.append(items)


class EarlySink:
    """Stores items into an unsealed batch and lets them run; what is no item is recorded as FAILED."""

    def __init__(self, batch: NewBatch, store: Store, openers: Openers, key: ApiKey | None) -> None:
        self._new_batch = batch
        self._store = store
        self._openers = openers
        self._key = key
        self._upload: Upload | None = None
        self._batch: Batch | None = None
        self._bound: set[UUID] = set()
        self._waiting: list[Checked] = []
        self._bytes = 0
        self._stand_in: UUID | None = None
        self._touched_s = time.monotonic()
        self._over = False

    async def add(self, checked: list[Checked]) -> None:
        """Take some lines; none after a moment of silence, when those that wait are stored. Nothing is stored any more
        once the batch is cancelled."""
        if self._over:
            return
        self._waiting += checked
        for each in checked:
            if isinstance(each, NewItem):
                self._bytes += len(each.request)
                self._stand_in = self._stand_in or each.resource_id
        if self._stand_in is None:
            if len(self._waiting) > _MOST_BAD_AHEAD:
                self._refuse()
            return
        full = len(self._waiting) >= CHUNK_ITEMS or self._bytes >= CHUNK_BYTES
        late = time.monotonic() - self._touched_s > EARLY_S
        if self._waiting and (full or late or not checked):
            await self._write()
        elif self._upload is not None and time.monotonic() - self._touched_s > TOUCH_S:
            await self._upload.touch()
            self._touched_s = time.monotonic()

    async def finish(self, idempotency_key: str | None, body_hash: bytes) -> Batch:
        """The batch, sealed. Raises Invalid and others when no line was good."""
        if self._stand_in is None:
            self._refuse()
        if self._waiting and not self._over:
            await self._write()
        if self._upload is None:
            raise InvariantBroken("an upload with items that was never opened")
        batch, flows = await self._upload.finish(self._new_batch.environment_id, idempotency_key, body_hash)
        self._upload = None
        await self._tell(batch, flows)
        return batch

    async def tear(self) -> None:
        """Give up. The batch is sealed as it is later."""
        if self._upload is not None:
            await self._upload.tear()

    def _refuse(self) -> None:
        refusals = Refusals()
        for each in self._waiting:
            if isinstance(each, BadLine):
                refusals.add(each)
        refusals.raise_if_any()
        raise Invalid("items: at least one must follow the first line.")

    async def _write(self) -> None:
        batch = await self._begin()
        upload, stand_in = self._upload, self._stand_in
        if upload is None or stand_in is None:
            raise InvariantBroken("an upload without a batch")
        items: list[NewItem] = []
        failures: list[ItemOutcome] = []
        for seq, each in enumerate(self._waiting, start=upload.stored + 1):
            if isinstance(each, BadLine):
                items.append(placeholder(each, stand_in))
                failures.append(_failed(batch.batch_id, seq, each))
            else:
                items.append(each)
        self._waiting, self._bytes = [], 0
        appended = await upload.append(items, failures)
        self._touched_s = time.monotonic()
        if appended is None:
            raise InvariantBroken("an early upload that is held")
        if appended.status is BatchStatus.CANCELLED:
            self._over = True
            return
        await self._tell(batch, appended.flows, appended if failures else None)

    async def _begin(self) -> Batch:
        if self._batch is None:
            self._upload = await self._store.uploads.open(self._new_batch, early=True)
            self._batch = await self._store.batches.get(self._new_batch.environment_id, self._new_batch.batch_id)
        if self._batch is None:
            raise InvariantBroken("an early batch vanished")
        return self._batch

    async def _tell(self, batch: Batch, flows: Sequence[StoredFlow], news: Appended | None = None) -> None:
        """Carry to the engine what is stored. While it is away nothing is lost: the reconciler does it later."""
        openers = self._openers
        try:
            shard = await openers.tenants.shard_of(batch.environment_id)
            await openers.shards.run(shard, lambda: self._extend(shard, batch, flows, news))
        except Unavailable as error:
            _log.warning("batch.opening_postponed", batch_id=str(batch.batch_id), reason=error.message)

    async def _extend(self, shard: int, batch: Batch, flows: Sequence[StoredFlow], news: Appended | None) -> None:
        openers = self._openers
        if batch.ended:
            await openers.extension.ended(shard, batch, flows)
            return
        fresh = [flow for flow in flows if flow.resource_id not in self._bound]
        if fresh:
            await openers.opening.bind(shard, batch, fresh, self._key)
            self._bound.update(flow.resource_id for flow in fresh)
        await openers.extension.extend(shard, batch, flows, self._key)
        if news is not None:
            await openers.engine.ring(
                shard, [Doorbell(flow_ref(flow).queue, str(batch.batch_id), news.last_event) for flow in flows[:1]]
            )


def _failed(batch_id: UUID, seq: int, bad: BadLine) -> ItemOutcome:
    place = f"line {bad.line}: " + (f"{bad.field}: " if bad.field else "")
    return ItemOutcome(
        batch_id=batch_id,
        seq=seq,
        run=1,
        status=ItemStatus.FAILED,
        error_code=bad.code,
        error_message=place + bad.message,
        completed_at=datetime.now(UTC),
    )
