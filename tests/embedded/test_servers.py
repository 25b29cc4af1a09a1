"""What callers rely on: both servers answer, keep their data, belong to one process, and are alone."""

import os
import signal
import stat
from pathlib import Path
from urllib.parse import unquote

import asyncpg
import pytest
import redis.asyncio

from brim_server.embedded import EmbeddedRefused, EmbeddedServers
from brim_server.embedded.postgres_server import PostgresServer
from tests.polling import eventually, until
from tests.processes import alive, command_line, family, users_of


async def _write(servers: EmbeddedServers) -> None:
    connection = await asyncpg.connect(servers.database_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
    await connection.execute("INSERT INTO kept VALUES (7)")
    await connection.close()
    client = redis.asyncio.Redis.from_url(servers.redis_url)
    await client.set("kept", "7")
    await client.aclose()


async def _assert_kept(servers: EmbeddedServers) -> None:
    connection = await asyncpg.connect(servers.database_url)
    assert await connection.fetchval("SELECT count(*) FROM kept WHERE number = 7") == 1
    await connection.close()
    client = redis.asyncio.Redis.from_url(servers.redis_url)
    assert await client.get("kept") == b"7"
    await client.aclose()


async def test_data_survives_a_clean_stop(data_dir: Path) -> None:
    async with EmbeddedServers(data_dir) as servers:
        await _write(servers)
    assert users_of(data_dir) == []
    async with EmbeddedServers(data_dir) as servers:
        await _assert_kept(servers)


async def test_data_survives_kill_9_and_the_servers_are_started_again(data_dir: Path) -> None:
    async with EmbeddedServers(data_dir) as servers:
        await _write(servers)
        before = (servers.redis_pid, servers.postgres_pid)
        for pid in before:
            os.kill(pid, signal.SIGKILL)

        async def both_answer() -> bool:
            if servers.redis_pid in before or servers.postgres_pid in before:
                return False
            try:
                await _assert_kept(servers)
            except (OSError, asyncpg.PostgresError, redis.exceptions.RedisError):
                return False
            return True

        await eventually(both_answer, "both servers answer again")


async def test_a_second_start_on_the_same_folder_is_refused(data_dir: Path) -> None:
    async with EmbeddedServers(data_dir):
        with pytest.raises(EmbeddedRefused, match=f"in use by process {os.getpid()}"):
            async with EmbeddedServers(data_dir):
                pytest.fail("two owners of one folder")


async def test_the_settings_keep_every_key_and_every_commit(data_dir: Path) -> None:
    async with EmbeddedServers(data_dir) as servers:
        client = redis.asyncio.Redis.from_url(servers.redis_url, decode_responses=True)
        found = await client.config_get("maxmemory-policy", "appendonly", "appendfsync")
        await client.aclose()
        assert found == {
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
            "appendfsync": "everysec",
        }
        connection = await asyncpg.connect(servers.database_url)
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await connection.fetchval("SELECT current_setting($1)", name) == "on", name
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        assert await connection.fetchval("SELECT pg_is_in_recovery()") is False
        await connection.close()


async def test_a_path_too_long_for_sockets_still_works(data_dir: Path) -> None:
    long = data_dir / ("long-" * 20)
    async with EmbeddedServers(long) as servers:
        await _write(servers)
        sockets = unquote(servers.database_url.partition("host=")[2])
        assert not sockets.startswith(str(data_dir))
        assert stat.S_IMODE(os.stat(sockets).st_mode) == 0o700
    assert not os.path.exists(sockets)


async def test_only_the_server_that_is_asked_for_runs(data_dir: Path) -> None:
    async with EmbeddedServers(data_dir, redis=False):
        assert not (data_dir / "redis").exists()
    async with EmbeddedServers(data_dir, postgres=False) as servers:
        client = redis.asyncio.Redis.from_url(servers.redis_url)
        assert await client.ping()
        await client.aclose()


async def test_no_server_process_is_called_worker_not_even_while_it_vacuums(data_dir: Path) -> None:
    async with EmbeddedServers(data_dir) as servers:
        connection = await asyncpg.connect(servers.database_url)
        # A vacuum that starts soon and takes long: the names of its processes can be read at leisure.
        await connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        await connection.execute("ALTER SYSTEM SET autovacuum_vacuum_cost_delay = '100ms'")
        await connection.execute("ALTER SYSTEM SET autovacuum_vacuum_cost_limit = 1")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute("CREATE TABLE busy (number int) WITH (autovacuum_vacuum_scale_factor = 0)")
        await connection.execute("INSERT INTO busy SELECT generate_series(1, 20000)")
        await connection.execute("DELETE FROM busy")

        async def vacuuming() -> int | None:
            pid: int | None = await connection.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
            )
            return pid

        await eventually(vacuuming, "an automatic vacuum", within_s=30)
        pids = [servers.redis_pid, servers.postgres_pid, *family(servers.postgres_pid)]
        assert await vacuuming() in pids
        titles = [command_line(pid) for pid in pids]
        assert [title.strip() for title in titles[:2]] == ["brim-redis", "./postgres -D ."]
        assert not [title for title in titles if "worker" in title]
        await connection.close()


def test_a_database_that_could_not_be_made_is_made_at_the_next_start(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "LOG: starting\n12:00 ERROR:  could not extend file: No space left on device\nLOG: shut down\n"
    with monkeypatch.context() as full:
        # On a full disk single-user Postgres says so, and ends well.
        full.setattr(PostgresServer, "_run", lambda *_words, **_more: said)
        with pytest.raises(EmbeddedRefused, match=r": 12:00 ERROR:  could not extend file: No space left on device\n"):
            EmbeddedServers(data_dir, redis=False).__enter__()
    with EmbeddedServers(data_dir, redis=False, durable=False) as servers:
        assert servers.postgres_pid > 0


def test_it_also_works_without_an_event_loop(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, durable=False) as servers:
        pids = [servers.redis_pid, servers.postgres_pid]
        assert all(alive(pid) for pid in pids)
    until(lambda: not any(alive(pid) for pid in pids), "both ended")
