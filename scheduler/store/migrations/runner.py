"""Apply migrations: each in one transaction, all under one advisory lock, never backwards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from scheduler.domain.errors import InvariantBroken
from scheduler.store.connecting import connect, patiently
from scheduler.store.failures import translated

WEEKS_AHEAD = 2
"""How many weeks of partitions are made beyond the present one."""
_LOCK = 0x6272696D  # "brim"
_FILE = re.compile(r"(\d{4})_(\w+)\.sql")


if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Session: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]


class NewerDatabase(InvariantBroken):
    """The database has migrations that this version does not know: upgrade the program."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. version: its number, from 1 without gaps."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All known migrations in order."""
    folder = files("scheduler.store.migrations")
    found = [
        Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise InvariantBroken("migrations are not numbered from 1 without gaps")
    return found


async def migrate(dsn: str, *, shards: int = 16) -> list[str]:
    """Bring the database up to this version; answers the names of the migrations that were applied.

    Safe to repeat and to run from many processes at once. Makes the partitions of the coming weeks. `shards`
    is kept at the first call and ignored at later ones. Raises NewerDatabase when the database is ahead of us,
    Unavailable when it cannot be reached within 30 s.
    """
    with translated():
        connection: asyncpg.Connection = await patiently()(connect, dsn)
        try:
            # Released with the session, whatever happens.
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            return await _migrate(connection, shards)
        finally:
            connection.terminate()


async def pending(connection: Session) -> list[str]:
    """Names of the migrations that the database still lacks. Raises NewerDatabase when it is ahead of us."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return [migration.name for migration in migrations()]
    return [migration.name for migration in await _missing(connection)]


async def _migrate(connection: asyncpg.Connection, shards: int) -> list[str]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations ("
        "version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    todo = await _missing(connection)
    for migration in todo:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)",
                migration.version,
                migration.name,
            )
    await connection.execute(
        "INSERT INTO shards (shard) SELECT generate_series(0, $1::integer - 1) WHERE NOT EXISTS (SELECT FROM shards)",
        shards,
    )
    await connection.execute("SELECT ensure_partitions(now(), $1)", WEEKS_AHEAD)
    return [migration.name for migration in todo]


async def _missing(connection: Session) -> list[Migration]:
    applied = {row["version"] for row in await connection.fetch("SELECT version FROM schema_migrations")}
    known = migrations()
    if unknown := applied - {migration.version for migration in known}:
        raise NewerDatabase(f"the database has migration {max(unknown)}, this version knows {len(known)}")
    return [migration for migration in known if migration.version not in applied]
