"""A private Redis for virtual runs, and what it can say about its own work."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.filling.clock import NOW_INCLUDE, SHARD, ClockedRedis
from bench.filling.world import START_US, Delays, World
from brim_server.embedded import EmbeddedServers
from scheduler.engine import scripts
from scheduler.engine.bell import Bell
from scheduler.engine.feed import Feed
from scheduler.engine.redis_engine import RedisEngine

SLOW_US = 2_000
"""Scripts above this are noted one by one."""
LONG_US = 10_000


@dataclass(frozen=True, slots=True)
class Slowest:
    """The longest script of a run: its verb and ms; '' when none took SLOW_US or more. over_10_ms: how many of
    `calls` scripts took longer than 10 ms."""

    verb: str
    ms: float
    over_10_ms: int
    calls: int

    def __str__(self) -> str:
        return f"{self.verb} {self.ms:.1f} ms" if self.verb else f"< {SLOW_US / 1000:.0f} ms"


class Laboratory:
    """Makes worlds on one Redis, one at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.redis = ClockedRedis(url)
        self._verbs: dict[str, str] = {}

    async def world(
        self, *, workers: int = 2, seed: int = 1, window_entries: int = 10_000, delays: Delays | None = None
    ) -> World:
        """An empty shard with idle workers."""
        redis = self.redis
        redis.plain("FLUSHALL")
        redis.forget_clock()
        redis.took = []
        redis.now_us = START_US
        includes = {"now": NOW_INCLUDE}
        # The bell and the feed block on connections of their own: in virtual time nobody waits on them.
        absent: Any = None
        engine = RedisEngine(cast(Any, redis), cast(Bell, absent), cast(Feed, absent), window_entries, includes)
        self._verbs = {scripts.script(name, includes).sha: name for name in scripts.names()}
        await engine.open_shard(SHARD, 1)
        redis.plain("CONFIG", "SET", "slowlog-log-slower-than", str(SLOW_US))
        redis.plain("CONFIG", "SET", "slowlog-max-len", "4096")
        redis.plain("SLOWLOG", "RESET")
        redis.plain("CONFIG", "RESETSTAT")
        return World(engine, redis, workers=workers, seed=seed, delays=delays)

    def script_us(self) -> int:
        """Time that scripts took in Redis since the world was made."""
        return sum(int(fields["usec"]) for fields in self._scripts())

    def slowest(self) -> Slowest:
        """The longest script since the world was made."""
        verb, longest_us, over = "", 0, 0
        for entry in self.redis.plain("SLOWLOG", "GET", "-1"):
            took_us, command = entry[2], entry[3]
            if command[0].upper() == b"EVALSHA":
                over += took_us > LONG_US
                if took_us > longest_us:
                    verb, longest_us = self._verbs.get(command[1].decode(), "?"), took_us
        return Slowest(verb, longest_us / 1000, over, sum(int(fields["calls"]) for fields in self._scripts()))

    def slowest_of_both(self, one: Sequence[tuple[str, int]], other: Sequence[tuple[str, int]]) -> Slowest:
        """The longest script of two equal runs, by what each took in the quicker of them: the machine stops for some
        ms now and then, but not twice at the same script. Takes what ClockedRedis.took was after each."""
        if [sha for sha, _ in one] != [sha for sha, _ in other]:
            raise RuntimeError("two runs from the same seed called different scripts")
        took = [(min(us, again_us), sha) for (sha, us), (_, again_us) in zip(one, other, strict=True)]
        longest_us, sha = max(took)
        verb = self._verbs.get(sha, "?") if longest_us >= SLOW_US else ""
        return Slowest(verb, longest_us / 1000, sum(us > LONG_US for us, _ in took), len(took))

    def _scripts(self) -> list[dict[str, str]]:
        text = self.redis.plain("INFO", "commandstats")
        lines = (text.decode() if isinstance(text, bytes) else str(text)).splitlines()
        wanted = [line for line in lines if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:"))]
        return [dict(pair.split("=") for pair in line.split(":", 1)[1].split(",")) for line in wanted]


@asynccontextmanager
async def laboratory() -> AsyncIterator[Laboratory]:
    """An embedded Redis, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="brim-bench-"))
    try:
        with EmbeddedServers(folder, postgres=False, durable=False) as servers:
            lab = Laboratory(servers.redis_url)
            try:
                yield lab
            finally:
                with contextlib.suppress(OSError):
                    await lab.redis.aclose()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
