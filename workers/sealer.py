"""The sealer: uploads that stopped before their end are sealed as they are (early start) or swept away."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from scheduler.ports.engine import Engine, EpochLost
from scheduler.ports.store import Store
from scheduler.ports.uploads import TornUpload
from scheduler.services.shards.recovery import Recovery
from scheduler.services.uploads.extension import Extension

INTERVAL_S = 2.0
MARGIN_S = 30.0
"""An API process notices silence itself; so much later it is that process that is gone."""
CHUNK = 10_000
"""Items deleted at once."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One turn: batches that were sealed, and uploads whose items were deleted."""

    sealed: int = 0
    swept: int = 0


class Sealer:
    """One process at a time. silence_s: an upload without a sign of life for so long was left by its API process."""

    def __init__(self, store: Store, engine: Engine, recovery: Recovery, window_entries: int, silence_s: float) -> None:
        self._store = store
        self._recovery = recovery
        self._extension = Extension(store, engine, window_entries)
        self._silence_s = silence_s

    async def run_once(self) -> Sealed:
        """Put right what was torn."""
        async with self._store.shards.exclusive("seal") as mine:
            if not mine:
                return Sealed()
            torn = await self._store.uploads.torn(self._silence_s + MARGIN_S)
            for upload in torn:
                await (self._seal(upload) if upload.early else self._sweep(upload))
            early = sum(upload.early for upload in torn)
            return Sealed(early, len(torn) - early)

    async def _seal(self, upload: TornUpload) -> None:
        batch = await self._store.uploads.seal(upload.batch_id, "The upload stopped before its end.")
        if batch is None:
            return
        _log.warning("upload.sealed", batch_id=str(batch.batch_id), items=batch.total_items)
        flows = await self._store.batches.flows(batch.batch_id)
        if not flows:
            return
        try:
            if batch.ended:
                await self._extension.ended(flows[0].shard, batch, flows)
            else:
                key = None
                if batch.api_key_id is not None:
                    key = await self._store.setup.api_key(batch.environment_id, batch.api_key_id)
                await self._extension.extend(flows[0].shard, batch, flows, key)
        except EpochLost as lost:
            # Repair builds the flows anew, sealed.
            await self._recovery.ensure(lost.shard)

    async def _sweep(self, upload: TornUpload) -> None:
        for after in range(0, upload.stored, CHUNK):
            await self._store.uploads.sweep(upload.batch_id, after_seq=after, up_to_seq=after + CHUNK)
        await self._store.uploads.forget(upload.batch_id)
        _log.warning("upload.swept", batch_id=str(upload.batch_id), items=upload.stored)
