"""The pool, and the few ways in which stores speak to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from scheduler.store.connecting import COMMAND_TIMEOUT_S, CONNECT_TIMEOUT_S, SESSION, patiently
from scheduler.store.failures import translated

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    PooledConnection: TypeAlias = PoolConnectionProxy[asyncpg.Record]

_ACQUIRE_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 5.0


class Database:
    """A pool of connections whose errors come out translated (errors.Unavailable, errors.InvariantBroken).

    Each of execute, fetch, fetchrow, fetchval is one statement in a transaction of its own.
    """

    def __init__(self, dsn: str, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        """Use `open`."""
        self.dsn = dsn
        self._pool = pool

    @classmethod
    async def open(cls, dsn: str, *, min_size: int, max_size: int) -> Database:
        """Connect, trying for up to 30 s. Raises Unavailable after that, InvariantBroken when refused for good."""
        with translated():
            pool: asyncpg.Pool[asyncpg.Record] = await patiently()(_open_pool, dsn, min_size, max_size)
        return cls(dsn, pool)

    async def close(self) -> None:
        """Close all connections; those still in use after 5 s are cut."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._pool.close()
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PooledConnection]:
        """One connection for several statements; Unavailable when none is free within 5 s."""
        with translated():
            async with self._pool.acquire(timeout=_ACQUIRE_TIMEOUT_S) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PooledConnection]:
        """One connection inside a short transaction: no thinking in it, 2 s of silence end it."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def execute(self, statement: str, *args: object) -> int:
        """Run it; answers the number of rows that it touched."""
        async with self.connection() as connection:
            return int(str(await connection.execute(statement, *args)).rpartition(" ")[2] or 0)

    async def fetch(self, statement: str, *args: object) -> Sequence[asyncpg.Record]:
        """All rows."""
        async with self.connection() as connection:
            return await connection.fetch(statement, *args)

    async def fetchrow(self, statement: str, *args: object) -> asyncpg.Record | None:
        """The first row."""
        async with self.connection() as connection:
            return await connection.fetchrow(statement, *args)

    async def fetchval(self, statement: str, *args: object) -> Any:
        """The first value of the first row; None without rows."""
        async with self.connection() as connection:
            return await connection.fetchval(statement, *args)


async def _open_pool(dsn: str, min_size: int, max_size: int) -> asyncpg.Pool[asyncpg.Record]:
    return await asyncpg.create_pool(
        dsn,
        min_size=min_size,
        max_size=max_size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings=SESSION,
        # Nothing we do leaves a trace in a session; the default costs a round trip after every use.
        reset=_nothing_to_reset,
    )


async def _nothing_to_reset(_connection: object) -> None:
    pass
