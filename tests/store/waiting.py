"""Signals from Postgres that tests wait for."""

from __future__ import annotations

import asyncpg

from tests.polling import eventually


async def wait_for_waiters(connection: asyncpg.Connection, count: int) -> None:
    """Until `count` other sessions wait for a lock."""

    async def enough() -> bool:
        waiting: int = await connection.fetchval("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
        return waiting >= count

    await eventually(enough, f"{count} sessions that wait for a lock", within_s=20)
