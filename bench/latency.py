"""An idle Brim: what it costs Redis, and how soon one item reaches the provider."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

from bench.stack import simulator, single, stack
from bench.throughput import items

ROUNDS = 40
IDLE_S = 10.0
SETTLING_S = 3.0


@dataclass(frozen=True, slots=True)
class Idle:
    """commands_per_s: client commands to Redis of one idle worker and API. post_to_provider_ms: from the start of the
    POST to the arrival at the provider; post_ms: the POST itself, which ends after Postgres and the push."""

    commands_per_s: float
    post_to_provider_ms: float
    post_ms: float
    worst_ms: float


async def idle() -> Idle:
    """Measure on a stack that has nothing else to do."""
    async with (
        simulator("--latency-ms", "1") as origin,
        stack(single("openai-compatible", f"{origin}/v1")) as brim,
    ):
        await brim.finished(await brim.post(items(10)), 30)
        await asyncio.sleep(SETTLING_S)
        before = await brim.usage()
        await asyncio.sleep(IDLE_S)
        used = await brim.usage() - before
        arrivals, posts = [], []
        for number in range(ROUNDS):
            started, clock = time.time(), time.perf_counter()
            batch_id = await brim.post(items(1, 1_000 + number))
            posts.append((time.perf_counter() - clock) * 1000)
            await brim.finished(batch_id, 30)
            async with brim.session.get(f"{origin}/stats") as answer:
                arrivals.append(((await answer.json())["last_call_at"] - started) * 1000)
            await asyncio.sleep(0.1)
        return Idle(used.commands / IDLE_S, statistics.median(arrivals), statistics.median(posts), max(arrivals))
