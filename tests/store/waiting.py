"""Signals from Postgres that tests wait for."""

from __future__ import annotations

import asyncio

import asyncpg


async def wait_for_waiters(connection: asyncpg.Connection, count: int) -> None:
    """Until `count` other sessions wait for a lock."""
    async with asyncio.timeout(20):
        while True:
            waiting = await connection.fetchval("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
            if waiting >= count:
                return
            await asyncio.sleep(0.005)
