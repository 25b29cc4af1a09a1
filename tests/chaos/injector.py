"""Carries out planned faults on a running stack, and notes when each began and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

from bench.stack import Stack
from tests.chaos.history import History, Struck
from tests.chaos.receiver import Receiver
from tests.chaos.schedule import REDIS_LOSSES, Fault, Planned
from tests.chaos.servers import Servers
from tests.processes import command_line, family

FAULTY = {"error_rate": 0.15, "hang_rate": 0.03, "reset_rate": 0.1, "garbage_rate": 0.1, "odd_rate": 0.2}
FLAWLESS: dict[str, float] = dict.fromkeys(FAULTY, 0.0)
COPY_AGE_S = 3.0
LONGEST_TAIL_BYTES = 60_000
RECOVERY_S = 3.0
"""A loss of Redis is over when leases of before it are not honoured any more: some seconds after it answers again."""


class Injector:
    """lease_s: of the workers, so that a stopped one is stopped for longer. scale: of what lasts, for short runs."""

    def __init__(
        self,
        brim: Stack,
        servers: Servers,
        receiver: Receiver,
        faulty_origin: str,
        history: History,
        lease_s: float,
        scale: float,
    ) -> None:
        self._brim = brim
        self._servers = servers
        self._receiver = receiver
        self._origin = faulty_origin
        self._history = history
        self._lease_s = lease_s
        self._scale = scale
        redis, postgres = asyncio.Lock(), asyncio.Lock()
        self._one_at_a_time = dict.fromkeys((*REDIS_LOSSES, Fault.REDIS_HANG, Fault.SCRIPT_FLUSH), redis)
        self._one_at_a_time |= {fault: postgres for fault in Fault if fault.name.startswith("POSTGRES")}
        self._actions: dict[Fault, Callable[[float], Awaitable[str]]] = {
            Fault.KILL_WORKER: self._kill_worker,
            Fault.KILL_API: self._kill_api,
            Fault.STOP_WORKER: self._stop_worker,
            Fault.REDIS_FLUSH: self._redis_flush,
            Fault.REDIS_RESTART: self._redis_restart,
            Fault.REDIS_TAIL: self._redis_tail,
            Fault.REDIS_OLDER: self._redis_older,
            Fault.REDIS_HANG: self._redis_hang,
            Fault.SCRIPT_FLUSH: self._script_flush,
            Fault.POSTGRES_RESTART: self._postgres_restart,
            Fault.POSTGRES_HANG: self._postgres_hang,
            Fault.POSTGRES_CUT: self._postgres_cut,
            Fault.POSTGRES_READ_ONLY: self._postgres_read_only,
            Fault.PROVIDER: self._provider,
            Fault.RECEIVER: self._trouble_receiver,
        }

    async def carry_out(self, planned: Planned) -> None:
        """Do it now; returns when it is over."""
        async with self._one_at_a_time.get(planned.fault, nullcontext()):
            struck = Struck(planned.fault, time.time(), float("inf"))
            self._history.faults.append(struck)
            struck.detail = await self._actions[planned.fault](planned.size)
        struck.ended_s = time.time()

    def _pids(self, word: str) -> list[int]:
        return sorted(pid for pid in family(self._brim.pid) if word in command_line(pid))

    async def _kill_worker(self, size: float) -> str:
        return self._kill_one("worker", size)

    async def _kill_api(self, size: float) -> str:
        return self._kill_one("api", size)

    def _kill_one(self, word: str, size: float) -> str:
        pids = self._pids(word)
        if not pids:
            return f"no {word} to kill"
        victim = pids[int(size * len(pids))]
        os.kill(victim, signal.SIGKILL)
        return f"{word} {victim}"

    async def _stop_worker(self, size: float) -> str:
        pids = self._pids("worker")
        if not pids:
            return "no worker to stop"
        victim = pids[int(size * len(pids))]
        os.kill(victim, signal.SIGSTOP)
        await asyncio.sleep(self._lease_s * (1.2 + size))
        try:
            os.kill(victim, signal.SIGCONT)
        except ProcessLookupError:
            return f"worker {victim}, killed meanwhile"
        return f"worker {victim}"

    async def _redis_flush(self, size: float) -> str:
        await self._servers.flush()
        await self._for(RECOVERY_S)
        return ""

    async def _redis_restart(self, size: float) -> str:
        return await self._restart_redis(size, lambda: None)

    async def _redis_tail(self, size: float) -> str:
        tail_bytes = int(size * LONGEST_TAIL_BYTES)
        return await self._restart_redis(size, lambda: self._servers.lose_tail(tail_bytes)) + f", {tail_bytes} bytes"

    async def _redis_older(self, size: float) -> str:
        self._servers.keep_copy()
        await self._for(COPY_AGE_S * size)
        return await self._restart_redis(size, self._servers.use_copy) + f", {COPY_AGE_S * size:.1f} s back"

    async def _restart_redis(self, size: float, meanwhile: Callable[[], None]) -> str:
        away_s = 2.0 * size * self._scale
        await self._servers.kill("redis")
        meanwhile()
        await asyncio.sleep(away_s)
        await self._servers.start_redis()
        await self._for(RECOVERY_S)
        return f"away for {away_s:.1f} s"

    async def _redis_hang(self, size: float) -> str:
        lasted = await self._hold(lambda: self._servers.stop("redis"), lambda: self._servers.go_on("redis"), size)
        await self._for(RECOVERY_S)  # leases that ended meanwhile are taken back or prolonged
        return lasted

    async def _script_flush(self, size: float) -> str:
        await self._servers.flush_scripts()
        return ""

    async def _postgres_restart(self, size: float) -> str:
        away_s = 8.0 * size * self._scale
        await self._servers.kill("postgres")
        await asyncio.sleep(away_s)
        await self._servers.start_postgres()
        return f"away for {away_s:.1f} s"

    async def _postgres_hang(self, size: float) -> str:
        return await self._hold(lambda: self._servers.stop("postgres"), lambda: self._servers.go_on("postgres"), size)

    async def _hold(self, begin: Callable[[], None], end: Callable[[], None], size: float) -> str:
        begin()
        try:
            return await self._for(5.0 * size)
        finally:
            end()

    async def _for(self, seconds: float) -> str:
        """Let it last, scaled; answers for how long."""
        await asyncio.sleep(seconds * self._scale)
        return f"for {seconds * self._scale:.1f} s"

    async def _postgres_cut(self, size: float) -> str:
        await self._servers.cut_sessions()
        return ""

    async def _postgres_read_only(self, size: float) -> str:
        await self._servers.read_only(on=True)
        lasted = await self._for(5.0 * size)
        await self._servers.read_only(on=False)
        return lasted

    async def _provider(self, size: float) -> str:
        await self._set_provider(FAULTY)
        lasted = await self._for(3.0 + 4.0 * size)
        await self._set_provider(FLAWLESS)
        return lasted

    async def _set_provider(self, changes: dict[str, Any]) -> None:
        async with self._brim.session.post(f"{self._origin}/settings", json=changes) as answer:
            answer.raise_for_status()

    async def _trouble_receiver(self, size: float) -> str:
        self._receiver.troubled = True
        lasted = await self._for(2.0 + 3.0 * size)
        self._receiver.troubled = False
        return lasted
