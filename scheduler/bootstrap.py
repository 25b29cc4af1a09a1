"""Puts the core together: the only module that knows which store and which engine are real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from scheduler.blobs.choice import open_blobs
from scheduler.engine.redis_engine import RedisEngine
from scheduler.services.callers.secrets import Vault
from scheduler.services.files.files import Files
from scheduler.services.shards.recovery import Recovery
from scheduler.settings import Settings
from scheduler.store.postgres_store import PostgresStore


@dataclass(frozen=True, slots=True)
class Core:
    """What every process of Brim is built on. vault opens and seals provider secrets."""

    settings: Settings
    store: PostgresStore
    engine: RedisEngine
    recovery: Recovery
    vault: Vault
    files: Files


@asynccontextmanager
async def open_core(settings: Settings, *, max_connections: int = 10) -> AsyncIterator[Core]:
    """Open the stores for as long as the block lasts.

    max_connections: of this process to Postgres. Waits up to 30 s for Postgres, then raises Unavailable; Redis is
    connected to at its first use. Shards are not opened: `recovery.ensure(shard)` does that.
    """
    store = await PostgresStore.open(settings.database_url, max_size=max_connections)
    try:
        engine = await RedisEngine.open(settings.redis_url, settings)
        try:
            if await store.ready():
                engine.bell.set_shards(await store.shards.shards())
            files = Files(store.files, open_blobs(settings.files_dir, settings.files_url))
            vault = Vault(settings.secret_key.get_secret_value() if settings.secret_key else None)
            recovery = Recovery(settings, store, engine)
            try:
                yield Core(settings, store, engine, recovery, vault, files)
            finally:
                await recovery.close()
        finally:
            await engine.close()
    finally:
        await store.close()
