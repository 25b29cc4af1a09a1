"""Refuses a Redis that may evict keys: a dropped key would be a lost queue or a forgotten limit. Also a cluster whose
URL does not say so."""

import asyncio
from typing import Any

import redis.asyncio
import redis.exceptions

from brim_server.running.failure import StartFailed
from scheduler.engine.address import CLUSTER_SCHEMES
from scheduler.engine.connect import TROUBLE
from scheduler.engine.servers import open_servers

_TIMEOUT_S = 10.0


class UnfitRedis(Exception):
    """The server cannot be used the way its URL says."""


async def read_policies(redis_url: str) -> list[str]:
    """The `maxmemory-policy` of each server that holds keys, as far as they tell.

    Asks CONFIG, and INFO where CONFIG is forbidden (managed servers). Raises redis.exceptions.RedisError when
    a server cannot be reached, ValueError when the URL cannot be read, UnfitRedis when it does not fit the server.
    """
    in_cluster = redis_url.partition("://")[0] in CLUSTER_SCHEMES
    servers = open_servers(redis_url)

    async def ask(client: redis.asyncio.Redis) -> str | None:
        if not in_cluster and str((await client.info("cluster")).get("cluster_enabled")) == "1":
            raise UnfitRedis("this Redis is a node of a cluster; write redis+cluster://host:port,host:port")
        try:
            told = [*(await client.config_get("maxmemory-policy")).values()]
        except redis.exceptions.ResponseError:
            told = [(await client.info("memory")).get("maxmemory_policy")]
        policy: Any = told[0] if told else None
        return policy.decode() if isinstance(policy, bytes) else policy

    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return [policy for policy in await servers.everywhere(ask) if policy is not None]
    except TimeoutError as error:
        raise redis.exceptions.TimeoutError(f"no answer within {_TIMEOUT_S:.0f} s") from error
    except redis.exceptions.ResponseError as error:
        if in_cluster and "cluster support disabled" in str(error):
            raise UnfitRedis("this Redis is no cluster; write redis:// in place of redis+cluster://") from error
        raise
    finally:
        await servers.close()


async def refuse_evicting_redis(redis_url: str) -> None:
    """Raise StartFailed when a server could drop our keys, does not fit its URL, or cannot be asked."""
    try:
        policies = await read_policies(redis_url)
    except (ValueError, UnfitRedis) as error:
        raise StartFailed(f"BRIM_REDIS_URL: {error}") from error
    except (redis.exceptions.RedisError, OSError) as error:
        raise StartFailed(f"BRIM_REDIS_URL: Redis cannot be reached: {error}") from error
    complaint = complaint_about(policies)
    if complaint is not None:
        raise StartFailed(f"BRIM_REDIS_URL: {complaint}")


def complaint_about(policies: list[str]) -> str | None:
    """Return why servers of these policies are unfit, None if they are fit."""
    policy = next((policy for policy in policies if policy != "noeviction"), None)
    if policy is None:
        return None
    return (
        f"this Redis has maxmemory-policy {policy}, so it may drop keys that Brim's queues and limits are "
        "made of; set it to noeviction (CONFIG SET maxmemory-policy noeviction)"
    )


def refuse_evicting_redis_now(redis_url: str) -> None:
    """Like `refuse_evicting_redis`, for a process that has no event loop yet.

    A server that cannot be reached is let pass: the process itself waits for it.
    """

    async def ask() -> None:
        try:
            policies = await read_policies(redis_url)
        except (*TROUBLE, redis.exceptions.RedisError):
            return
        complaint = complaint_about(policies)
        if complaint is not None:
            raise StartFailed(f"BRIM_REDIS_URL: {complaint}")

    try:
        asyncio.run(ask())
    except (ValueError, UnfitRedis) as error:
        raise StartFailed(f"BRIM_REDIS_URL: {error}") from error
