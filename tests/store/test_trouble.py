"""A database in trouble is Unavailable, never anything else; afterwards the store works again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from scheduler.domain.errors import InvariantBroken, Unavailable
from scheduler.ports.outcomes import Flushed
from scheduler.store import PostgresStore, connecting, database
from scheduler.store.failures import is_passing, translated
from scheduler.store.migrations import migrate
from tests.polling import eventually
from tests.store.factories import Tenant, make_batch, outcome
from tests.store.waiting import wait_for_waiters

PASSING = [
    asyncpg.ConnectionDoesNotExistError("x"),
    asyncpg.AdminShutdownError("x"),
    asyncpg.CannotConnectNowError("x"),
    asyncpg.TooManyConnectionsError("x"),
    asyncpg.DiskFullError("x"),
    asyncpg.DeadlockDetectedError("x"),
    asyncpg.QueryCanceledError("x"),
    asyncpg.ReadOnlySQLTransactionError("x"),
    asyncpg.InterfaceError("connection is closed"),
    ConnectionRefusedError(),
    TimeoutError(),
]
LASTING = [
    asyncpg.UndefinedTableError("x"),
    asyncpg.UniqueViolationError("x"),
    asyncpg.InvalidPasswordError("x"),
    asyncpg.InvalidCatalogNameError("x"),
    asyncpg.DataError("x"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_trouble_that_passes_is_unavailable(error: Exception) -> None:
    assert is_passing(error)
    with pytest.raises(Unavailable), translated():
        raise error


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_a_refused_statement_is_a_bug_and_its_text_is_kept_out(error: Exception) -> None:
    assert not is_passing(error)
    with pytest.raises(InvariantBroken) as caught, translated():
        raise error
    assert caught.value.message == f"postgres refused a statement: {type(error).__name__}"


async def test_the_store_goes_on_after_its_sessions_were_killed(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 2)
    kill = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with postgres.transaction():
        await postgres.execute("SELECT FROM batches FOR UPDATE")
        flush = asyncio.create_task(store.outcomes.flush([outcome(batch, 1)], wait_for_locks=True))
        await wait_for_waiters(postgres, 1)
        await postgres.execute(kill)
        with pytest.raises(Unavailable):
            await flush

    async def flushed_again() -> Flushed | None:
        try:
            return await store.outcomes.flush([outcome(batch, 1)])
        except Unavailable:
            return None

    flushed = await eventually(flushed_again, "the store answers again", within_s=20)
    assert flushed is not None
    assert flushed.recorded == ("recorded",)


async def test_a_read_only_server_is_unavailable(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 1)
    name = await postgres.fetchval("SELECT current_database()")
    await postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    replica = await PostgresStore.open(str(store.dsn))
    try:
        with pytest.raises(Unavailable):
            await replica.batches.mark_running([batch.batch_id])
        assert await replica.batches.get(tenant.environment_id, batch.batch_id) == batch
    finally:
        await replica.close()


async def test_waiting_too_long_for_a_connection_is_unavailable(
    database_of_one: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_ACQUIRE_TIMEOUT_S", 0.05)
    async with database_of_one._database.connection():
        with pytest.raises(Unavailable):
            await database_of_one.shards.shards()
        assert not await database_of_one.ready()
    assert await database_of_one.shards.shards() == 16


@pytest.fixture
async def database_of_one(store: PostgresStore) -> AsyncIterator[PostgresStore]:
    """A store with a pool of a single connection."""
    small = await PostgresStore.open(store.dsn, max_size=1)
    yield small
    await small.close()


async def test_opening_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_PATIENCE_S", 0.2)
    nowhere = "postgresql://brim@127.0.0.1:1/brim"
    with pytest.raises(Unavailable):
        await PostgresStore.open(nowhere)
    with pytest.raises(Unavailable):
        await migrate(nowhere)


async def test_a_database_that_does_not_exist_is_told_at_once(store: PostgresStore) -> None:
    with pytest.raises(InvariantBroken, match="InvalidCatalogNameError"):
        await PostgresStore.open(store.dsn.replace("brim_test_", "brim_absent_"))


async def test_closing_twice_is_fine(store: PostgresStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(Unavailable):
        await store.shards.shards()
    assert not await store.ready()
