"""A Redis that may drop keys is refused, also when it does not tell its configuration."""

import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

from bench.cluster import LoopbackCluster
from brim_server.embedded.redis_server import executable
from brim_server.running.eviction import complaint_about, read_policies, refuse_evicting_redis
from brim_server.running.failure import StartFailed
from tests.polling import eventually


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client
        await client.config_set("maxmemory-policy", "noeviction")


async def test_a_server_that_keeps_all_keys_is_accepted(redis_url: str) -> None:
    await refuse_evicting_redis(redis_url)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_may_evict_is_refused_with_what_to_do(
    redis_url: str, client: redis.asyncio.Redis, policy: str
) -> None:
    await client.config_set("maxmemory-policy", policy)
    with pytest.raises(StartFailed, match=f"{policy}.*CONFIG SET maxmemory-policy noeviction"):
        await refuse_evicting_redis(redis_url)


async def test_the_policy_is_read_from_info_where_config_is_forbidden(
    redis_url: str, client: redis.asyncio.Redis
) -> None:
    await client.config_set("maxmemory-policy", "volatile-lru")
    await client.execute_command("ACL", "SETUSER", "managed", "on", ">word", "~*", "+@all", "-config")  # type: ignore[no-untyped-call]
    try:
        assert await read_policies(redis_url.replace("unix://", "unix://managed:word@")) == ["volatile-lru"]
    finally:
        await client.execute_command("ACL", "DELUSER", "managed")  # type: ignore[no-untyped-call]


async def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(StartFailed, match="BRIM_REDIS_URL: Redis cannot be reached"):
        await refuse_evicting_redis("unix:///nowhere/redis.sock")


async def test_a_url_of_another_kind_is_named() -> None:
    with pytest.raises(StartFailed, match="BRIM_REDIS_URL"):
        await refuse_evicting_redis("http://127.0.0.1")


def test_a_server_that_does_not_tell_is_let_pass() -> None:
    assert complaint_about([]) is None


async def test_each_node_of_a_cluster_is_asked(redis_cluster: LoopbackCluster) -> None:
    await refuse_evicting_redis(redis_cluster.url)
    last = redis_cluster.masters[-1]
    last.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StartFailed, match="maxmemory-policy allkeys-lru"):
            await refuse_evicting_redis(redis_cluster.url)
    finally:
        last.client.config_set("maxmemory-policy", "noeviction")


async def test_a_cluster_behind_the_url_of_one_server_is_refused(redis_cluster: LoopbackCluster) -> None:
    with pytest.raises(StartFailed, match="node of a cluster; write redis"):
        await refuse_evicting_redis(f"redis://127.0.0.1:{redis_cluster.masters[0].port}")


async def test_one_server_behind_the_url_of_a_cluster_is_refused(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        (executable(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""),
        stdout=subprocess.DEVNULL,
    )
    try:

        async def refused() -> bool:
            with pytest.raises(StartFailed) as refusal:
                await refuse_evicting_redis(f"redis+cluster://127.0.0.1:{port}")
            return "this Redis is no cluster; write redis://" in str(refusal.value)

        await eventually(refused, "it says that it is no cluster", 20)
    finally:
        server.kill()
        server.wait()
