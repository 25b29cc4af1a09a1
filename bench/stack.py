"""A running Brim and a simulated provider for a bench, in processes of their own, gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from redis.asyncio import Redis

from bench.cluster import LoopbackCluster
from scheduler.engine.address import read_url

WORKSPACE = "11111111-1111-4111-8111-111111111111"
ENVIRONMENT = "22222222-2222-4222-8222-222222222222"
KEY = "brim_bench_" + "0" * 40
READY_S = 60.0
ON_CLUSTER = os.environ.get("BRIM_BENCH_CLUSTER") == "1"
"""Whether what says nothing else runs on a Redis Cluster."""
STOP_S = 25.0
CLIENT_COMMANDS = ("evalsha", "eval", "blpop", "xread", "get", "set", "info", "ping")
"""Commands that only clients send: INFO also counts what scripts call."""

TENANT = f"""
[[workspace]]
id = "{WORKSPACE}"
name = "bench"
[[workspace.environment]]
id = "{ENVIRONMENT}"
name = "bench"
[[workspace.environment.api_key]]
name = "bench"
key = "{KEY}"
"""


def connection(name: str, provider: str, base_url: str, more: str = "") -> str:
    """A connection as a set-up file states it. more: further lines, for example its capacity."""
    return f"""
[[workspace.environment.connection]]
name = "{name}"
provider = "{provider}"
base_url = "{base_url}"
api_key = "none"
{more}
"""


def resource(name: str, connection_name: str, more: str = "") -> str:
    """A resource on a connection."""
    return f"""
[[workspace.environment.resource]]
name = "{name}"
connection = "{connection_name}"
model = "sim-model"
{more}
"""


def single(provider: str, base_url: str, more: str = "") -> str:
    """One resource `model` on one connection."""
    return connection("provider", provider, base_url, more) + resource("model", "provider")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the stores were asked for so far."""

    commands: int
    transactions: int

    def __sub__(self, earlier: Usage) -> Usage:
        """What was asked for since `earlier`."""
        return Usage(self.commands - earlier.commands, self.transactions - earlier.transactions)


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses of one running Brim. redis: of a cluster its first node alone."""

    base: str
    session: aiohttp.ClientSession
    redis: Redis
    database_url: str
    pid: int
    redis_url: str

    async def post(self, items: list[dict[str, Any]], **fields: Any) -> str:
        """Create an ASYNC batch; answers its id."""
        body = io.BytesIO(json.dumps({"type": "ASYNC", "items": items, **fields}).encode())
        async with self.session.post(self.base, data=body, headers={"Content-Type": "application/json"}) as answer:
            answer.raise_for_status()
            return str((await answer.json())["batchId"])

    async def batch(self, batch_id: str) -> dict[str, Any]:
        """The batch without its items."""
        async with self.session.get(f"{self.base}/{batch_id}", params={"includesItems": "false"}) as answer:
            answer.raise_for_status()
            return dict(await answer.json())

    async def finished(self, batch_id: str, within_s: float) -> dict[str, Any]:
        """The batch once it is final."""
        async with asyncio.timeout(within_s):
            while True:
                batch = await self.batch(batch_id)
                if batch["status"] in ("COMPLETED", "FAILED", "CANCELLED"):
                    return batch
                await asyncio.sleep(0.05)

    async def usage(self) -> Usage:
        """Count client commands to Redis and transactions of Postgres."""
        stats = await self.redis.info("commandstats")
        commands = sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in CLIENT_COMMANDS)
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute("SELECT pg_stat_force_next_flush()")
            transactions = await connection.fetchval(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            )
        finally:
            await connection.close()
        return Usage(commands, int(transactions))


async def calls_of(session: aiohttp.ClientSession, origin: str) -> list[dict[str, Any]]:
    """Every call that a simulated provider saw, by arrival: number, arrival_ms, status and so on."""
    found: list[dict[str, Any]] = []
    while True:
        since = found[-1]["number"] if found else 0
        async with session.get(f"{origin}/calls", params={"since": str(since)}) as answer:
            page = await answer.json()
        rows = [dict(zip(page["columns"], row, strict=True)) for row in page["calls"]]
        if not rows:
            return sorted(found, key=lambda call: call["arrival_ms"])
        found += rows


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def simulator(*options: str) -> AsyncIterator[str]:
    """A simulated provider; answers its origin, for example http://127.0.0.1:9100."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "brim_server", "simulate", "--port", "0", *options, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            line = (await process.stdout.readline()).decode()
        found = re.search(r"http://[\d.]+:\d+", line)
        if not found:
            raise RuntimeError(f"the simulator said {line!r}")
        yield found[0]
    finally:
        await _end(process)


@asynccontextmanager
async def stack(
    setup: str,
    *,
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
    log: Path | None = None,
    cluster: bool = ON_CLUSTER,
) -> AsyncIterator[Stack]:
    """A running Brim in a folder of its own. setup: what follows TENANT in its set-up file. log: where to leave what
    its processes said; with BRIM_REDIS_URL and BRIM_DATABASE_URL in `settings` it runs on those. cluster: on a Redis
    Cluster of three masters of its own."""
    if cluster:
        with LoopbackCluster() as masters:
            on_it = {**(settings or {}), "BRIM_REDIS_URL": masters.url}
            async with stack(setup, workers=workers, settings=on_it, log=log, cluster=False) as brim:
                yield brim
        return
    folder = Path(tempfile.mkdtemp(prefix="brim-bench-"))
    config = folder / "brim.toml"
    config.write_text(TENANT + setup)
    port = free_port()
    log_path = log or folder / "log"
    output = log_path.open("wb")
    env = {**os.environ, "BRIM_LOG_LEVEL": "warning", **(settings or {})}
    arguments = ("--config", str(config), "--data-dir", str(folder / "data"), "--port", str(port))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "brim_server", "up", *arguments, "--workers", str(workers)),
        env=env,
        stdout=output,
        stderr=output,
    )
    base = f"http://127.0.0.1:{port}/v1/completion-batch/{WORKSPACE}/{ENVIRONMENT}"
    try:
        headers = {"Authorization": f"Bearer {KEY}"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            await _until_ready(session, f"http://127.0.0.1:{port}/health/ready", process, log_path)
            urls = json.loads((folder / "data" / "servers.json").read_text())
            redis = Redis.from_url(_one_url(urls["redis_url"]))
            try:
                yield Stack(base, session, redis, urls["database_url"], process.pid, urls["redis_url"])
            finally:
                await redis.aclose()
    finally:
        await _end(process)
        output.close()
        shutil.rmtree(folder, ignore_errors=True)


def _one_url(redis_url: str) -> str:
    """Of a cluster its first node."""
    cluster = read_url(redis_url)
    return redis_url if cluster is None else cluster.node_url(cluster.seeds[0])


async def _until_ready(
    session: aiohttp.ClientSession, url: str, process: asyncio.subprocess.Process, log: Path
) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"brim-server ended with {process.returncode}:\n{log.read_text()[-4000:]}")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
