"""Refuses a Redis that may evict keys: a dropped key would be a lost queue or a forgotten limit."""

import asyncio

import redis.asyncio
import redis.exceptions

from brim_server.running.failure import StartFailed

_TIMEOUT_S = 5.0


async def read_policy(redis_url: str) -> str | None:
    """Return the `maxmemory-policy` of the server, None if it will not say.

    Asks CONFIG, and INFO where CONFIG is forbidden (managed servers). Raises redis.exceptions.RedisError when
    the server cannot be reached and ValueError when the URL cannot be read.
    """
    client = redis.asyncio.Redis.from_url(
        redis_url, decode_responses=True, socket_connect_timeout=_TIMEOUT_S, socket_timeout=_TIMEOUT_S
    )
    try:
        try:
            policy = (await client.config_get("maxmemory-policy")).get("maxmemory-policy")
        except redis.exceptions.ResponseError:
            policy = (await client.info("memory")).get("maxmemory_policy")
    finally:
        await client.aclose()
    return None if policy is None else str(policy)


async def refuse_evicting_redis(redis_url: str) -> None:
    """Raise StartFailed when the server could drop our keys, or cannot be asked."""
    try:
        policy = await read_policy(redis_url)
    except ValueError as error:
        raise StartFailed(f"BRIM_REDIS_URL: {error}") from error
    except (redis.exceptions.RedisError, OSError) as error:
        raise StartFailed(f"BRIM_REDIS_URL: Redis cannot be reached: {error}") from error
    complaint = complaint_about(policy)
    if complaint is not None:
        raise StartFailed(f"BRIM_REDIS_URL: {complaint}")


def complaint_about(policy: str | None) -> str | None:
    """Return why a server of this policy is unfit, None if it is fit. An unknown policy is let pass."""
    if policy is None or policy == "noeviction":
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
            policy = await read_policy(redis_url)
        except (redis.exceptions.RedisError, OSError):
            return
        complaint = complaint_about(policy)
        if complaint is not None:
            raise StartFailed(f"BRIM_REDIS_URL: {complaint}")

    try:
        asyncio.run(ask())
    except ValueError as error:
        raise StartFailed(f"BRIM_REDIS_URL: {error}") from error
