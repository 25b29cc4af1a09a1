"""What the doctor finds wrong."""

import socket
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import redis.asyncio

from bench.cluster import LoopbackCluster
from brim_server.running.checkup import Finding, examine, examine_this_host
from scheduler.bootstrap import open_core
from scheduler.domain.file import NewFile, Purpose
from scheduler.settings import Settings


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


async def test_a_system_without_workers_is_in_trouble(empty_redis: str, database: str) -> None:
    found = _by_name(await examine(Settings(redis_url=empty_redis, database_url=database)))
    assert [name for name, finding in found.items() if not finding.good] == ["workers"]
    assert found["migrations"].detail == "up to date"


async def test_a_worker_that_was_heard_of_counts(empty_redis: str, database: str) -> None:
    settings = Settings(redis_url=empty_redis, database_url=database)
    async with open_core(settings) as core:
        await core.store.shards.beat("a-holder", "worker", {})
    found = _by_name(await examine(settings))
    assert found["workers"] == Finding("workers", True, "1 alive")


async def test_files_that_others_have_and_we_do_not_are_trouble(
    empty_redis: str, database: str, tmp_path: Path
) -> None:
    ours, others = (
        Settings(redis_url=empty_redis, database_url=database, files_dir=tmp_path / name) for name in ("a", "b")
    )
    async with open_core(others) as core:
        await core.store.shards.beat("a-holder", "worker", {})
        assert _by_name(await examine(ours))["files"] == Finding("files", True, "can be reached")
        workspace_id, environment_id, file_id = uuid4(), uuid4(), uuid4()
        await core.store.setup.put_workspace(workspace_id, "w", create=True)
        await core.store.setup.put_environment(workspace_id, environment_id, "e", create=True)
        new = NewFile(workspace_id, environment_id, file_id, Purpose.EVALS, "a", datetime.now(UTC), None)
        async with core.files.drafting() as draft:
            await core.files.keep(draft, new)
    assert _by_name(await examine(others))["files"].good
    assert "share" in _by_name(await examine(ours))["files"].detail
    (tmp_path / "a").write_bytes(b"in the way")
    assert _by_name(await examine(ours))["files"].detail == "The file store is full or cannot be reached."


async def test_a_worker_elsewhere_does_not_speak_for_this_host(empty_redis: str, database: str) -> None:
    settings = Settings(redis_url=empty_redis, database_url=database)
    async with open_core(settings) as core:
        await core.store.shards.beat("a-holder", "worker", {"host": "another"})
        (alone,) = await examine_this_host(settings)
        await core.store.shards.beat("our-holder", "worker", {"host": socket.gethostname()})
        (found,) = await examine_this_host(settings)
    assert (alone.good, found.good) == (False, True)


async def test_missing_migrations_are_named_with_what_to_do(empty_redis: str, bare_database: str) -> None:
    found = _by_name(await examine(Settings(redis_url=empty_redis, database_url=bare_database)))
    assert not found["migrations"].good
    assert "run brim-server migrate" in found["migrations"].detail
    assert "workers" not in found


async def test_a_redis_that_may_evict_is_trouble(empty_redis: str, database: str) -> None:
    async with redis.asyncio.Redis.from_url(empty_redis) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = _by_name(await examine(Settings(redis_url=empty_redis, database_url=database)))
        finally:
            await client.config_set("maxmemory-policy", "noeviction")
    assert not found["eviction policy"].good


@pytest.mark.parametrize("name", ["redis", "postgres"])
async def test_a_server_that_cannot_be_reached_is_trouble(empty_redis: str, database: str, name: str) -> None:
    urls = {"redis_url": empty_redis, "database_url": database}
    urls |= (
        {"redis_url": "unix:///nowhere/redis.sock"}
        if name == "redis"
        else {"database_url": "postgresql://brim@/brim?host=/nowhere"}
    )
    found = _by_name(await examine(Settings(redis_url=urls["redis_url"], database_url=urls["database_url"])))
    assert not found[name].good
    assert "workers" not in found


async def test_a_cluster_is_examined_as_one_server_is(database: str, redis_cluster: LoopbackCluster) -> None:
    redis_cluster.clear()
    found = _by_name(await examine(Settings(redis_url=redis_cluster.url, database_url=database)))
    assert (found["redis"].good, found["redis"].detail) == (True, "a cluster; every node with slots answers")
    assert (found["eviction policy"].good, found["eviction policy"].detail) == (True, "noeviction")
    assert found["queues"].good
