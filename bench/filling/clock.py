"""A Redis client that carries a virtual clock: every command is preceded by the time that it happens at."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from scheduler.engine import keys

T = TypeVar("T")

SHARD = 3
CLOCK_KEY = f"{keys.prefix(SHARD)}bench-now"
NOW_INCLUDE = """
local function read_server_ms() return tonumber(redis.call('GET', string.sub(KEYS[1], 1, -6) .. 'bench-now')) end
"""
"""In place of lua/include/now.lua: scripts read the time that the bench has set."""


class ClockedRedis:
    """What RedisEngine needs of a client, over one synchronous connection.

    Nothing else runs while a command is under way, so a run depends on its seed alone. `now_us` is the
    virtual time, microseconds of the epoch; set it before a call. `rang` says whether the last command left
    a wake token, which was taken out at once, as an idle worker's BLPOP would. `took`: of every script that ran, in
    order, its SHA-1 and the microseconds until its answer was here.
    """

    def __init__(self, url: str) -> None:
        self._connection: Any = Redis.from_url(url).connection_pool.get_connection()
        self._sent_ms = -1
        self.now_us = 0
        self.rang = False
        self.commands = 0
        self.took: list[tuple[str, int]] = []

    async def execute_command(self, *command: Any) -> Any:
        """Set the clock, run the command, pop a wake token; one round trip. Raises what the command raised."""
        now_ms = self.now_us // 1000
        commands: list[tuple[Any, ...]] = [command, ("LPOP", keys.wake(SHARD))]
        moved = now_ms != self._sent_ms
        if moved:
            commands.insert(0, ("SET", CLOCK_KEY, now_ms))
            self._sent_ms = now_ms
        self.commands += 1
        began_ns = time.perf_counter_ns()
        try:
            return self._exchange(commands, at=int(moved))
        finally:
            if command[0] == "EVALSHA":
                self.took.append((str(command[1]), (time.perf_counter_ns() - began_ns) // 1000))

    async def mset(self, values: Mapping[str, Any]) -> None:
        """The one other command that opening a shard uses."""
        await self.execute_command("MSET", *(part for pair in values.items() for part in pair))

    async def on(self, shard: int, work: Callable[[Any], Awaitable[T]]) -> T:  # noqa: ARG002 - there is one server
        """As Servers.on."""
        return await work(self)

    def seen(self, shard: int) -> str:  # noqa: ARG002
        """As Servers.seen: this server never changes."""
        return ""

    def forget_clock(self) -> None:
        """After a FLUSHALL the clock must be sent again."""
        self._sent_ms = -1

    def plain(self, *command: Any) -> Any:
        """A command beside the run: no clock, no token."""
        return self._exchange([command], at=0)

    def _exchange(self, commands: list[tuple[Any, ...]], *, at: int) -> Any:
        self._connection.send_packed_command(self._connection.pack_commands(commands))
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(self._connection.read_response())
            except RedisError as error:
                replies.append(error)
        if len(commands) > 1:
            self.rang = replies[-1] is not None
        if isinstance(replies[at], RedisError):
            raise replies[at]
        return replies[at]

    async def aclose(self) -> None:
        """Close the connection."""
        self._connection.disconnect()
