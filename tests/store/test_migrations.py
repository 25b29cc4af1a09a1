"""Migrations: once, in order, by anybody; and the partitions that they leave."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib.resources import files
from uuid import UUID

import asyncpg
import pytest

from scheduler.domain.ids import uuid7
from scheduler.store import PostgresStore
from scheduler.store.migrations import NewerDatabase, migrate
from scheduler.store.migrations.runner import migrations
from tests.store.factories import Tenant, make_batch, new_batch, new_items

RUNNING_ONCE = 21
"""The migration that leaves one "running" callback a run."""
CATALOG = """
SELECT 'column', c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' '
    || a.attnotnull || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || ' ' || a.attcompression::text
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
UNION ALL
SELECT 'table', relname || ' ' || relkind::text || ' ' || coalesce(reloptions::text, '') || ' '
    || coalesce(pg_get_expr(relpartbound, oid), '')
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
UNION ALL
SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'constraint', conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'function', pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'trigger', pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
ORDER BY 1, 2
"""


async def catalog(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    """All that the database holds beside rows."""
    return [(row[0], row[1]) for row in await connection.fetch(CATALOG)]


async def test_many_processes_migrate_at_once_and_each_step_runs_once(bare_database: str) -> None:
    applied = await asyncio.gather(*(migrate(bare_database) for _ in range(4)))
    assert sorted(len(names) for names in applied) == [0, 0, 0, len(migrations())]


async def test_the_number_of_shards_is_fixed_by_the_first_migration(bare_database: str) -> None:
    await migrate(bare_database, shards=3)
    await migrate(bare_database, shards=5)
    store = await PostgresStore.open(bare_database)
    try:
        assert await store.shards.shards() == 3
    finally:
        await store.close()


async def test_a_store_is_ready_only_on_exactly_its_own_version(bare_database: str) -> None:
    store = await PostgresStore.open(bare_database)
    connection = await asyncpg.connect(bare_database)
    try:
        assert not await store.ready()
        await migrate(bare_database)
        assert await store.ready()
        await connection.execute("INSERT INTO schema_migrations (version, name) VALUES (9999, 'later')")
        assert not await store.ready()
        with pytest.raises(NewerDatabase, match="9999"):
            await migrate(bare_database)
    finally:
        await connection.close()
        await store.close()


async def test_the_schema_for_reading_equals_the_migrations(bare_database: str, database: str) -> None:
    connection = await asyncpg.connect(bare_database, server_settings={"timezone": "UTC"})
    migrated = await asyncpg.connect(database, server_settings={"timezone": "UTC"})
    try:
        await connection.execute(
            "CREATE TABLE schema_migrations ("
            "version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        folder = files("scheduler.store").joinpath("schema")
        for file in sorted(folder.iterdir(), key=lambda file: int(file.name.partition("_")[0])):
            await connection.execute(file.read_text(encoding="utf-8"))
        await connection.execute("SELECT ensure_partitions(now(), 2)")
        assert await catalog(connection) == await catalog(migrated)
    finally:
        await connection.close()
        await migrated.close()


async def partition_of(connection: asyncpg.Connection, table: str, batch_id: UUID) -> str:
    """Which partition holds the rows of a batch."""
    name: str = await connection.fetchval(
        f"SELECT tableoid::regclass::text FROM {table} WHERE batch_id = $1 LIMIT 1", batch_id
    )
    return name


async def test_callbacks_that_an_earlier_version_told_twice_keep_their_first_id(
    bare_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [step for step in migrations() if step.version < RUNNING_ONCE]
    with monkeypatch.context() as patched:
        patched.setattr("scheduler.store.migrations.runner.migrations", lambda: before)
        await migrate(bare_database)
    batch_id, ids = uuid7(1_700_000_000_000, bytes(10)), [UUID(int=number) for number in range(1, 7)]
    runs = (1, 1, 1, 2, 1, 1)
    kinds = ("running", "running", "running", "running", "item", "item")
    connection = await asyncpg.connect(bare_database)
    try:
        await connection.execute(
            """
            INSERT INTO deliveries (batch_id, delivery_id, created_at, finished_at, seq, run, kind, receiver, state)
            SELECT $1, id, now(), now(), 1, run, kind, 'r', 'delivered'
            FROM unnest($2::uuid[], $3::int[], $4::text[]) AS t (id, run, kind)
            """,
            batch_id,
            ids,
            runs,
            kinds,
        )
        await migrate(bare_database)
        kept = await connection.fetch("SELECT delivery_id FROM deliveries ORDER BY delivery_id")
    finally:
        await connection.close()
    assert [row["delivery_id"] for row in kept] == [ids[0], ids[3], ids[4], ids[5]]


async def test_rows_go_to_the_week_of_their_batch(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 2)
    week = await postgres.fetchval("SELECT to_char(date_trunc('week', now(), 'UTC') AT TIME ZONE 'UTC', 'YYYYMMDD')")
    assert await partition_of(postgres, "items", batch.batch_id) == f"items_{week}"
    assert await partition_of(postgres, "events", batch.batch_id) == f"events_{week}"


async def test_a_batch_of_an_unprepared_week_lands_in_the_net_and_stays_there(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    later = datetime(2199, 6, 5, tzinfo=UTC)
    batch_id = uuid7(int(later.timestamp() * 1000), b"0123456789")
    await store.batches.create(new_batch(tenant, batch_id=batch_id), new_items(tenant, 3))
    assert await partition_of(postgres, "items", batch_id) == "items_rest"
    made = await postgres.fetchval("SELECT ensure_partitions($1, 1)", later)
    # Of that week only the tables without rows in the net get a partition, of the next week all five.
    assert made == 5 + 3
    assert [item.seq for item in await store.items.page(batch_id, after_seq=0, limit=9)] == [1, 2, 3]


async def test_partitions_of_coming_weeks_are_made_once(store: PostgresStore, postgres: asyncpg.Connection) -> None:
    await store.shards.maintain()
    assert await postgres.fetchval("SELECT ensure_partitions(now(), 2)") == 0
    assert await postgres.fetchval("SELECT ensure_partitions(now() + interval '7 days', 2)") == 5


async def test_ids_made_by_the_database_are_version_7_of_now(postgres: asyncpg.Connection) -> None:
    made = await postgres.fetchval("SELECT new_uuid7()")
    now_ms = await postgres.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    assert made.version == 7
    assert abs((made.int >> 80) - now_ms) < 1000
    assert made.int >> 62 & 0b11 == 0b10
