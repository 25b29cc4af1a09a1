"""A provider that answers 429 with Retry-After to everything for a while, and what Brim sends it meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bench.stack import Stack, calls_of, connection, resource, simulator, stack

RPM = 6_000
REFUSE_S = 20.0
RETRY_AFTER_MS = 5_000
ITEMS = 6_000
FULL = 0.95
"""Share of the rate that counts as full speed, over a second."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """sent_between: calls that arrived after the first 429 and before the first success. back_s: from that success to
    the first second at full speed. retries: attempts that items spent."""

    refused: int
    sent_between: int
    back_s: float
    completed: int
    failed: int
    retries: int


async def refusals() -> Refusals:
    """Run a batch, let the provider refuse everything for REFUSE_S, and run to the end."""
    options = ("--rpm", str(RPM), "--shape", "sliding", "--latency-ms", "200")
    limit = f'capacity = [{{period = "MINUTE", requests = {RPM}}}]'
    async with simulator(*options) as origin:
        setup = connection("provider", "openai-compatible", f"{origin}/v1", limit) + resource("model", "provider")
        async with stack(setup, workers=2) as brim:
            body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16}
            batch = await brim.post([{"resourceId": "model", "request": body} for _ in range(ITEMS)])
            await asyncio.sleep(10)
            change = {"refuse_for_s": REFUSE_S, "refuse_retry_after_ms": RETRY_AFTER_MS}
            async with brim.session.post(f"{origin}/settings", json=change) as answer:
                answer.raise_for_status()
            done = await brim.finished(batch, 180)
            calls = await calls_of(brim.session, origin)
            retries = await _retries(brim, batch)
    first = next(i for i, call in enumerate(calls) if call["status"] == 429)
    success = next(i for i in range(first, len(calls)) if calls[i]["status"] == 200)
    return Refusals(
        sum(call["status"] == 429 for call in calls),
        success - first - 1,
        _back_s([call["arrival_ms"] for call in calls[success:]]),
        done["completed"],
        done["failed"],
        retries,
    )


async def _retries(brim: Stack, batch: str) -> int:
    async with brim.session.get(f"{brim.base}/{batch}", params={"includesItems": "true"}) as answer:
        answer.raise_for_status()
        items = (await answer.json())["items"]
    return sum(item["retryCount"] for item in items)


def _back_s(arrivals_ms: list[float]) -> float:
    """Until a second in which as many calls arrived as the limit lets through."""
    for i, at_ms in enumerate(arrivals_ms):
        within = sum(1 for other in arrivals_ms[i:] if other < at_ms + 1000)
        if within >= RPM / 60 * FULL:
            return (at_ms - arrivals_ms[0]) / 1000
    raise RuntimeError("the rate was never reached again")
