"""What the doctor finds wrong."""

import socket

import pytest
import redis.asyncio

from brim_server.running.checkup import Finding, examine, examine_this_host
from scheduler.bootstrap import open_core
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
