"""What only answers can tell, in real time: a key that others use too, and a server without limits."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.stack import Stack, connection, resource, simulator, stack

RPM = 600
SHARE = 0.3
SETTLED_S = 60
PARALLEL = 24
LATENCY_MS = 250
SERVED_S = 60


@dataclass(frozen=True, slots=True)
class Shared:
    """What the provider saw of us and of the others. used: together, against the limit."""

    shape: str
    calls: int
    refused: int
    used: float


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs PARALLEL calls at once without getting slower. share: of the calls a second that it could
    serve at best."""

    calls: int
    share: float
    most_at_once: int


def _requests(name: str, count: int) -> list[dict[str, Any]]:
    return [
        {"resourceId": name, "request": {"messages": [{"role": "user", "content": f"Number {n}"}], "max_tokens": 16}}
        for n in range(count)
    ]


async def shared(minutes: int) -> list[Shared]:
    """A bucket, a sliding and a fixed minute of which others use 30 %, all at once; two worker processes."""
    shapes = ("bucket", "sliding", "minute")
    options = ("--rpm", str(RPM), "--others", str(SHARE), "--latency-ms", "200", "--latency-jitter-ms", "200")
    async with AsyncExitStack() as opened:
        origins = [await opened.enter_async_context(simulator(*options, "--shape", shape)) for shape in shapes]
        capacity = f'capacity = [{{period = "MINUTE", requests = {RPM}}}]'
        setup = "".join(
            connection(shape, "openai-compatible", f"{origin}/v1", capacity) + resource(shape, shape)
            for shape, origin in zip(shapes, origins, strict=True)
        )
        brim = await opened.enter_async_context(stack(setup, workers=2))
        for shape in shapes:
            await brim.post(_requests(shape, RPM * (minutes + 1)))
        await asyncio.sleep(minutes * 60)
        return [await _shared(brim, shape, origin) for shape, origin in zip(shapes, origins, strict=True)]


async def _shared(brim: Stack, shape: str, origin: str) -> Shared:
    stats = await _stats(brim, origin)
    lasted_s = stats["last_call_at"] - stats["first_call_at"]
    together = stats["admitted"] + stats["others"]["admitted"]
    return Shared(shape, stats["requests"], stats["refused_429"], together / (RPM * lasted_s / 60))


async def served() -> Served:
    """A backlog on a vLLM connection for a minute; two worker processes."""
    options = ("--latency-ms", str(LATENCY_MS), "--parallel", str(PARALLEL), "--no-rate-headers")
    async with simulator(*options) as origin:
        setup = connection("own", "vllm", f"{origin}/v1") + resource("own", "own")
        async with stack(setup, workers=2) as brim:
            best_per_s = PARALLEL * 1000 / LATENCY_MS
            await brim.post(_requests("own", round(best_per_s * SERVED_S * 1.5)))
            await asyncio.sleep(SERVED_S)
            stats = await _stats(brim, origin)
    lasted_s = stats["last_call_at"] - stats["first_call_at"]
    return Served(stats["requests"], stats["requests"] / lasted_s / best_per_s, stats["max_in_flight"])


async def _stats(brim: Stack, origin: str) -> dict[str, Any]:
    async with brim.session.get(f"{origin}/stats") as answer:
        found: dict[str, Any] = await answer.json()
    return found
