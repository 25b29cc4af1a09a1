"""A Redis and a Postgres that may be killed, cut, wiped and set back, by their owner alone."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
from redis.asyncio import Redis

from brim_server.embedded.child import Child
from brim_server.embedded.folder import DataFolder
from brim_server.embedded.postgres_server import PostgresServer
from brim_server.embedded.redis_server import RedisServer
from brim_server.embedded.refusal import EmbeddedRefused
from tests.polling import eventually
from tests.processes import family

START_TRIES = 40
START_PAUSE_S = 0.25


class Servers:
    """Both servers in a folder, as long as the `async with` block lasts. Enter it in the main thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = DataFolder(folder)
        self._redis = RedisServer(self._folder, durable=True)
        self._postgres = PostgresServer(self._folder, durable=True)
        self._children: dict[str, Child] = {}

    @property
    def redis_url(self) -> str:
        return self._redis.url

    @property
    def database_url(self) -> str:
        return self._postgres.dsn

    async def __aenter__(self) -> Self:
        self._folder.acquire()
        try:
            self._redis.prepare()
            self._postgres.prepare()
            await self.start_redis()
            await self.start_postgres()
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        for child in self._children.values():
            child.ask_to_stop()
        for child in self._children.values():
            child.wait_stopped()
        self._children.clear()
        self._folder.release()

    async def start_redis(self) -> None:
        """Start it and wait until it has loaded its data."""
        await self._start("redis", self._redis)

    async def start_postgres(self) -> None:
        """Start it and wait until it has recovered."""
        await self._start("postgres", self._postgres)

    async def _start(self, name: str, server: RedisServer | PostgresServer) -> None:
        # Right after a kill of Postgres its last backends still hold the shared memory: try again then.
        for _ in range(START_TRIES):
            child = server.spawn()
            try:
                await asyncio.to_thread(server.wait_ready, child)
            except EmbeddedRefused:
                await asyncio.sleep(START_PAUSE_S)
                continue
            self._children[name] = child
            return
        raise RuntimeError(f"{name} does not start")

    async def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone."""
        child = self._children[name]
        os.kill(child.pid, signal.SIGKILL)
        await eventually(lambda: child.exit_code() is not None, f"{name} is gone")

    def stop(self, name: str) -> None:
        """SIGSTOP of all its processes: connections stay open and nothing answers."""
        self._signal(name, signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """SIGCONT."""
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, what: signal.Signals) -> None:
        parent = self._children[name].pid
        for pid in [parent, *family(parent)]:
            with suppress(ProcessLookupError):
                os.kill(pid, what)

    async def flush(self) -> None:
        """FLUSHALL: everything in Redis is gone, the process lives."""
        await self._redis_call("FLUSHALL")

    async def flush_scripts(self) -> None:
        """SCRIPT FLUSH: scripts are known by their SHA no more."""
        await self._redis_call("SCRIPT", "FLUSH")

    async def _redis_call(self, *command: str) -> None:
        client = Redis.from_url(self.redis_url)
        try:
            await client.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            await client.aclose()

    @property
    def _aof(self) -> Path:
        return self._folder.path / "redis" / "appendonlydir"

    def keep_copy(self) -> None:
        """Remember what Redis has on disk now, for `use_copy`."""
        kept = self._folder.path / "redis-copy"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self._aof, kept)

    def use_copy(self) -> None:
        """Put the remembered data in the place of the present: what a failover to a lagging replica finds. Redis must
        not run."""
        kept = self._folder.path / "redis-copy"
        if kept.exists():
            shutil.rmtree(self._aof)
            shutil.copytree(kept, self._aof)

    def lose_tail(self, tail_bytes: int) -> None:
        """Cut the last bytes off the append-only file, in the midst of a command as it may be. Redis must not run."""
        newest = max(self._aof.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
        os.truncate(newest, max(0, newest.stat().st_size - tail_bytes))

    async def cut_sessions(self) -> None:
        """End every session of Postgres but this one."""
        await self._sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    async def read_only(self, *, on: bool) -> None:
        """Let Postgres refuse writes, as a standby does, or take them again."""
        setting = "on" if on else "off"
        await self._sql(f"ALTER SYSTEM SET default_transaction_read_only = {setting}")
        await self._sql("SELECT pg_reload_conf()")

    async def _sql(self, statement: str) -> None:
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
