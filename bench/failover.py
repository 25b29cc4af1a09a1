"""A Redis Cluster that loses a master twice under load and a limit that binds: what it costs."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from typing import Any

import asyncpg

from bench.cluster import LoopbackCluster, Node
from bench.stack import ENVIRONMENT, Stack, simulator, single, stack
from scheduler.engine.servers import slot_of

RPM = 600
ITEMS = 1500
KILLS_AT = (400, 900)
"""Calls after which the master of the tenant's shard is killed."""
WITHIN_S = 600.0


@dataclass(frozen=True, slots=True)
class FailedOver:
    """gaps_s: from each kill to the next call after those that were claimed before it. repeated: calls of items that
    had been called before."""

    gaps_s: tuple[float, ...]
    worst_minute: int
    refused: int
    completed: int
    repeated: int


async def shard_of_tenant(brim: Stack) -> int:
    """Where the tenant's queues and budgets are."""
    connection = await asyncpg.connect(brim.database_url)
    try:
        return int(await connection.fetchval("SELECT shard FROM environments WHERE environment_id = $1", ENVIRONMENT))
    finally:
        await connection.close()


async def fail_over() -> FailedOver:
    """Run it: about three minutes."""
    limit = f'capacity = [{{period = "MINUTE", requests = {RPM}}}]'
    with LoopbackCluster(replicas=True) as cluster:
        async with (
            simulator("--rpm", str(RPM), "--shape", "sliding", "--latency-ms", "200") as origin,
            stack(
                single("openai-compatible", f"{origin}/v1", limit),
                workers=2,
                settings={"BRIM_REDIS_URL": cluster.url},
                cluster=False,
            ) as brim,
        ):
            request = {"messages": [{"role": "user", "content": "Say a number."}], "max_tokens": 16}
            batch = await brim.post(
                [{"resourceId": "model", "request": {**request, "user": str(number)}} for number in range(ITEMS)]
            )
            slot = slot_of(await shard_of_tenant(brim))
            gaps: list[float] = []
            dead: Node | None = None
            for calls in KILLS_AT:
                await _calls_above(brim, origin, calls)
                if dead is not None:
                    dead.start()
                    await _until_replica(dead)
                dead = cluster.owner_of(slot)
                gaps.append(await _kill(brim, origin, dead))
            done = await brim.finished(batch, WITHIN_S)
            stats = await _stats(brim, origin)
    return FailedOver(
        tuple(gaps),
        stats["worst_minute"]["requests"],
        stats["refused_429"],
        done["completed"],
        stats["duplicates"]["repeats"],
    )


async def _kill(brim: Stack, origin: str, master: Node) -> float:
    master.send(signal.SIGKILL)
    killed_s = time.monotonic()
    # A claim made before the kill leaves within 150 ms, so what comes after a silence of twice that was claimed later.
    await asyncio.sleep(0.3)
    before = (await _stats(brim, origin))["requests"]
    await _calls_above(brim, origin, before)
    return time.monotonic() - killed_s


async def _stats(brim: Stack, origin: str) -> dict[str, Any]:
    async with brim.session.get(f"{origin}/stats") as answer:
        return dict(await answer.json())


async def _calls_above(brim: Stack, origin: str, number: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            if (await _stats(brim, origin))["requests"] > number:
                return
            await asyncio.sleep(0.02)


async def _until_replica(node: Node) -> None:
    async with asyncio.timeout(30):
        while True:
            if node.answers() and node.follows():
                return
            await asyncio.sleep(0.05)
