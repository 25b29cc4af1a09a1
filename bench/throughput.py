"""Items a second through the whole path, and what they cost the stores."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.stack import Stack, Usage, simulator, single, stack

WARM_UP = 2_000
NOOP_ITEMS = 100_000
HTTP_ITEMS = 30_000
HTTP_LATENCY_MS = 5
BARE_CONCURRENCY = 200
WITHIN_S = 180.0


@dataclass(frozen=True, slots=True)
class Throughput:
    """items_per_s: from the moment the POST was answered to the last outcome recorded. post_s: the POST itself."""

    items: int
    post_s: float
    items_per_s: float
    commands_per_item: float
    transactions_per_item: float


def body(number: int) -> dict[str, Any]:
    """A small chat completion that no other item equals."""
    return {"messages": [{"role": "user", "content": f"Say the number {number}."}], "max_tokens": 16}


def items(count: int, offset: int = 0) -> list[dict[str, Any]]:
    """Items for one batch."""
    return [{"resourceId": "model", "request": body(offset + number)} for number in range(count)]


async def measure(brim: Stack, count: int) -> Throughput:
    """Run one batch of `count` items on a warm stack."""
    await brim.finished(await brim.post(items(WARM_UP)), WITHIN_S)
    payload = items(count, WARM_UP)
    before = await brim.usage()
    started = time.perf_counter()
    batch_id = await brim.post(payload)
    posted = time.perf_counter()
    batch = await brim.finished(batch_id, WITHIN_S)
    ended = time.perf_counter()
    used: Usage = await brim.usage() - before
    if batch["completed"] != count:
        raise RuntimeError(f"only {batch['completed']} of {count} items completed")
    return Throughput(
        count, posted - started, count / (ended - posted), used.commands / count, used.transactions / count
    )


async def noop() -> Throughput:
    """POST, provider `noop`, durable outcomes: what Brim itself costs."""
    async with stack(single("noop", "http://127.0.0.1:9"), settings={"BRIM_ALLOW_NOOP": "true"}) as brim:
        return await measure(brim, NOOP_ITEMS)


async def http() -> tuple[Throughput, float]:
    """Through HTTP to the simulator, and a bare aiohttp loop against the same simulator (requests a second)."""
    async with simulator("--latency-ms", str(HTTP_LATENCY_MS)) as origin:
        bare = await bare_loop(f"{origin}/v1/chat/completions", HTTP_ITEMS)
        async with stack(single("openai-compatible", f"{origin}/v1")) as brim:
            return await measure(brim, HTTP_ITEMS), bare


async def bare_loop(url: str, count: int) -> float:
    """The same requests from a loop that does nothing else."""
    numbers = iter(range(count))
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def one_after_another() -> None:
            for number in numbers:
                data = json.dumps({**body(number), "model": "sim-model"}).encode()
                async with session.post(url, data=data, headers=headers) as answer:
                    await answer.read()

        started = time.perf_counter()
        await asyncio.gather(*(one_after_another() for _ in range(BARE_CONCURRENCY)))
        return count / (time.perf_counter() - started)
