"""Two providers behind one spilling resource, in real time: both used as one, and one of them going down."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.limits import request
from bench.stack import Stack, connection, resource, simulator, stack

RPM = 300
ITEMS = 1_800
DOWN_ITEMS = 600
DOWN_AFTER = 200
WITHIN_S = 600.0


@dataclass(frozen=True, slots=True)
class Spilled:
    """share_used: of both limits together, from the second minute to the last call. served: items by connection.

    down_*: of the batch during which the first provider ended.
    """

    share_used: float
    worst_minutes: tuple[int, int]
    refused: int
    completed: int
    served: dict[str, int]
    down_completed: int
    down_served: dict[str, int]


async def spill() -> Spilled:
    """Run one batch on both, then one that loses the first on its way."""
    options = ("--rpm", str(RPM), "--shape", "sliding", "--latency-ms", "200")
    limits = f'capacity = [{{period = "MINUTE", requests = {RPM}}}]'
    async with AsyncExitStack() as first_one, simulator(*options) as second:
        first = await first_one.enter_async_context(simulator(*options))
        setup = connection("first", "openai-compatible", f"{first}/v1", limits)
        setup += connection("second", "openai-compatible", f"{second}/v1", limits)
        setup += resource("both", "first", 'spill = true\nfallback = [{connection = "second", model = "sim-model"}]')
        async with stack(setup, workers=2) as brim:
            whole = await brim.finished(await brim.post(_items(0, ITEMS)), WITHIN_S)
            share, worst, refused = await _seen(brim, first, second)
            losing = await brim.post(_items(ITEMS, DOWN_ITEMS))
            await _completed(brim, losing, DOWN_AFTER)
            await first_one.aclose()
            lost = await brim.finished(losing, WITHIN_S)
            return Spilled(
                share,
                worst,
                refused,
                whole["completed"],
                await _served(brim, whole["batchId"]),
                lost["completed"],
                await _served(brim, losing),
            )


def _items(offset: int, count: int) -> list[dict[str, Any]]:
    return [{"resourceId": "both", "request": request(offset + number, 5, 16)} for number in range(count)]


async def _completed(brim: Stack, batch_id: str, count: int) -> None:
    while True:
        if (await brim.batch(batch_id))["completed"] >= count:
            return
        await asyncio.sleep(0.2)


async def _seen(brim: Stack, *origins: str) -> tuple[float, tuple[int, int], int]:
    """The share of both limits that was used from the second minute on, each one's worst sliding minute, all 429s."""
    stats = [await _read(brim, f"{origin}/stats") for origin in origins]
    first = min(int(each["first_call_at"]) for each in stats) + 60
    last = max(int(each["last_call_at"]) for each in stats)
    calls = 0
    for origin in origins:
        timeline = await _read(brim, f"{origin}/timeline")
        rows = [dict(zip(timeline["columns"], row, strict=True)) for row in timeline["seconds"]]
        calls += sum(row["admitted_requests"] for row in rows if first <= row["second"] < last)
    worst_first, worst_second = (each["worst_minute"]["requests"] for each in stats)
    share = calls / (len(origins) * RPM * (last - first) / 60)
    return share, (worst_first, worst_second), sum(each["refused_429"] for each in stats)


async def _read(brim: Stack, url: str) -> dict[str, Any]:
    async with brim.session.get(url) as answer:
        return dict(await answer.json())


async def _served(brim: Stack, batch_id: str) -> dict[str, int]:
    """How many items each connection served."""
    async with brim.session.get(f"{brim.base}/{batch_id}") as answer:
        items = (await answer.json())["items"]
    return dict(Counter(item["servedBy"]["connection"] for item in items if item["servedBy"]))
