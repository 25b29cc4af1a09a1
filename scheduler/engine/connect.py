"""Connections to Redis and the one place where its errors become ours."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from scheduler.domain.errors import Unavailable

CONNECTIONS = 64
"""Most connections of one process to one server beside those that block."""
ANSWER_S = 5.0
"""A script that has not answered for so long (most take well under 10 ms) waits at a server that stands still."""
BLOCKED_S = 15.0
"""A blocking command that has not answered for so long waits at a server that is gone; each asks for less."""

TROUBLE = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
    redis.exceptions.AskError,  # and MovedError, its child: redirections that servers.py has not followed
    OSError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Trouble with Redis is Unavailable to the rest of Brim."""
    try:
        yield
    except TROUBLE as error:
        refused = error.__cause__ or error.__context__
        if isinstance(refused, ssl.SSLCertVerificationError):
            message = f"The certificate of the queue store is not accepted: {refused.verify_message}."
            raise Unavailable(message, retry_after_s=1.0) from error
        raise Unavailable("The queue store cannot be reached now.", retry_after_s=1.0) from error


def connect(url: str, *, blocking: bool = False, on_connect: Callable[[Any], Awaitable[None]] | None = None) -> Redis:
    """A client for scripts, or (blocking) one whose single connection may wait in a blocking command.

    on_connect: prepares each new connection in place of its own method. A script is repeated once when its connection
    turned out dead: all verbs may be repeated; a claim whose answer got lost is reclaimed when its leases expire. One
    that got no answer in time is not repeated: whoever waits for it shall know soon.
    """
    client: Redis = Redis.from_url(
        url,
        max_connections=1 if blocking else CONNECTIONS,
        socket_timeout=BLOCKED_S if blocking else ANSWER_S,
        socket_connect_timeout=ANSWER_S,
        health_check_interval=0,
        # Whoever blocks hears of a broken connection: what came meanwhile may have been missed.
        retry=Retry(NoBackoff(), 0 if blocking else 1, supported_errors=(redis.exceptions.ConnectionError,)),
        retry_on_error=[redis.exceptions.ConnectionError],
        redis_connect_func=on_connect,
    )
    return client


async def call(client: Redis, *command: object) -> Any:
    """One command as it goes over the wire; the reply as redis-py parsed it (its own hints of it are partial)."""
    return await cast(Any, client).execute_command(*command)
