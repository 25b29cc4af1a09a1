"""Shards and their epochs, generations of flows, locks between processes, signs of life."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg

from scheduler.domain.batch import Batch
from scheduler.domain.errors import InvariantBroken
from scheduler.ports.flows import StoredFlow
from scheduler.store.connecting import COMMAND_TIMEOUT_S, connect
from scheduler.store.database import Database
from scheduler.store.failures import translated
from scheduler.store.migrations.runner import WEEKS_AHEAD
from scheduler.store.rows import batch_of, flow_of, json_text, json_value
from scheduler.store.statements import load_statements

LATELY_S = 15.0
"""Signs of life of other workers that are told of: what is older is of no use to anybody."""
_SQL = load_statements("shard")
_GET_BATCHES = load_statements("batch")["get_batches"]
_FIRST_ID = UUID(int=0)


class PostgresShardStore:
    """Implements ports.shards.ShardStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def shards(self) -> int:
        """How many shards, fixed at first start."""
        return int(await self._database.fetchval(_SQL["count_shards"]))

    async def live_shards(self) -> Sequence[int]:
        """Shards that have at least one environment, in order."""
        return [row["shard"] for row in await self._database.fetch(_SQL["live_shards"])]

    async def epoch(self, shard: int) -> tuple[int, str]:
        """The epoch and the identity that it was opened with; 0 and "" before the first."""
        row = await self._database.fetchrow(_SQL["epoch"], shard)
        if row is None:
            raise InvariantBroken(f"there is no shard {shard}")
        return row["epoch"], row["identity"]

    async def raise_epoch(self, shard: int, seen: int, identity: str) -> int | None:
        """Epoch seen + 1 by compare-and-set; None when another was faster."""
        raised: int | None = await self._database.fetchval(_SQL["raise_epoch"], shard, seen, identity)
        return raised

    async def unfinished_flows(
        self, shard: int, *, after: tuple[UUID, UUID] | None, limit: int
    ) -> Sequence[StoredFlow]:
        """Flows of live batches, by (batch, resource); `after` is the last pair of the call before."""
        batch_id, resource_id = after or (_FIRST_ID, _FIRST_ID)
        rows = await self._database.fetch(_SQL["unfinished_flows"], shard, batch_id, resource_id, limit)
        return [flow_of(row) for row in rows]

    async def cancelled_unfinished(self, limit: int, after: Batch | None = None) -> Sequence[Batch]:
        """Cancelled batches that have not ended; those touched longest ago come first."""
        place = (after.updated_at, after.batch_id) if after else (None, None)
        return [batch_of(row) for row in await self._database.fetch(_SQL["cancelled_unfinished"], limit, *place)]

    async def batches(self, batch_ids: Sequence[UUID]) -> Sequence[Batch]:
        """Those that exist, in no order."""
        return [batch_of(row) for row in await self._database.fetch(_GET_BATCHES, batch_ids)]

    async def raise_generation(self, batch_id: UUID, resource_id: UUID, seen: int) -> int | None:
        """Generation seen + 1 by compare-and-set; None when another was faster."""
        raised: int | None = await self._database.fetchval(_SQL["raise_generation"], batch_id, resource_id, seen)
        return raised

    def exclusive(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Hold the advisory lock `name` for the block; False when another process has it.

        The lock lives in a session of its own: it ends with the block, or earlier when that session breaks.
        What is done under it must therefore be safe (if wasteful) when two do it.
        """
        return self._exclusive(name)

    @asynccontextmanager
    async def _exclusive(self, name: str) -> AsyncIterator[bool]:
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        # Only our own statements are translated: errors of the block are not the database's.
        with translated():
            connection = await connect(self._database.dsn, command_timeout_s=COMMAND_TIMEOUT_S)
        try:
            with translated():
                got: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1)", key)
            yield got
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                # The server notices a cut session a moment later; the next holder need not wait for that.
                await connection.execute("SELECT pg_advisory_unlock_all()")
        finally:
            connection.terminate()

    async def beat(self, holder: str, kind: str, info: Mapping[str, Any]) -> Mapping[str, float]:
        """Sign of life of a process; the ages of those of others."""
        rows = await self._database.fetch(_SQL["beat"], holder, kind, json_text(info), LATELY_S)
        return {row["holder"]: row["age_s"] for row in rows}

    async def alive(self, within_s: float) -> Sequence[Mapping[str, Any]]:
        """Processes that beat within that time: {holder, kind, info, beat_at}."""
        rows = await self._database.fetch(_SQL["alive"], within_s)
        return [{**row, "info": json_value(row["info"])} for row in rows]

    async def maintain(self) -> None:
        """Make the partitions of the coming weeks, forget what nobody asks for any more; see the port."""
        await self._database.execute(_SQL["ensure_partitions"], WEEKS_AHEAD)
        await self._database.execute(_SQL["forget_idempotency_keys"])
        await self._database.execute(_SQL["forget_processes"])
