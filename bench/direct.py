"""Direct calls beside a batch of 100,000 on the same connection: `python -m bench.direct [--share 0.1] [--calls 30]`.

Two minutes a run. Added latency is the time of a call beside the batch less the median of calls on the idle stack.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from dataclasses import dataclass
from typing import Any

from bench.stack import KEY, Stack, simulator, single, stack
from bench.throughput import body, items

RPM = 600
ITEMS = 100_000
WARM_UP_S = 62.0
BASELINE_CALLS = 12
LATENCY_MS = 5


@dataclass(frozen=True, slots=True)
class Beside:
    """Times in ms. served: calls of the batch in the minute before the direct ones, of RPM."""

    baseline_ms: float
    added_ms: list[float]
    waited_ms: list[float]
    served: int
    worst_minute: int
    refused: int


async def beside(share: float, calls: int) -> Beside:
    """Calls at the rate of a tenth of the limit, at random moments."""
    limits = f'capacity = [{{period = "MINUTE", requests = {RPM}}}]\ndirect_share = {share}'
    async with (
        simulator("--rpm", str(RPM), "--latency-ms", str(LATENCY_MS)) as origin,
        stack(single("openai-compatible", f"{origin}/v1", limits)) as brim,
    ):
        url = brim.base.split("/v1/")[0] + "/v1/chat/completions"
        idle = [(await timed(brim, url, number))[0] for number in range(BASELINE_CALLS)]
        baseline_ms = statistics.median(idle[2:])
        await brim.post(items(ITEMS, 1_000))
        await asyncio.sleep(WARM_UP_S)
        served = sum((await timeline(brim, origin))[-61:-1])
        added, waited = [], []
        for number in range(calls):
            due_s = time.perf_counter() + 60 / (RPM * 0.1) * random.uniform(0.9, 1.15)
            total_ms, wait_ms = await timed(brim, url, 500 + number)
            added.append(total_ms - baseline_ms)
            waited.append(wait_ms)
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        seen = await stats(brim, origin)
    return Beside(baseline_ms, added, waited, served, seen["worst_minute"]["requests"], seen["refused_429"])


async def timed(brim: Stack, url: str, number: int) -> tuple[float, float]:
    """One call: its time and the part of it that it waited for admission, in ms."""
    started_s = time.perf_counter()
    wanted = {"model": "model", **body(number)}
    async with brim.session.post(url, json=wanted, headers={"Authorization": f"Bearer {KEY}"}) as answer:
        text = await answer.text()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {text}")
        return (time.perf_counter() - started_s) * 1000, float(answer.headers["Brim-Wait-Ms"])


async def stats(brim: Stack, origin: str) -> dict[str, Any]:
    """What the provider counted."""
    async with brim.session.get(f"{origin}/stats") as answer:
        return dict(await answer.json())


async def timeline(brim: Stack, origin: str) -> list[int]:
    """Requests that the provider admitted, second by second."""
    async with brim.session.get(f"{origin}/timeline") as answer:
        told = await answer.json()
    column = told["columns"].index("admitted_requests")
    return [row[column] for row in told["seconds"]]


def show(name: str, value: str) -> None:
    """One line of the report."""
    print(f"{name:<66} {value:>10}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.direct")
    parser.add_argument("--share", type=float, default=0.1, help="directShare of the connection")
    parser.add_argument("--calls", type=int, default=30)
    given = parser.parse_args()
    found = asyncio.run(beside(given.share, given.calls))
    kind = f"direct, share {given.share:g}"
    tail = sorted(found.added_ms)[int(0.9 * len(found.added_ms))]
    show(f"{kind}: a call on the idle stack, median ms", f"{found.baseline_ms:.1f}")
    show(f"{kind}: added beside a batch of {ITEMS:,}, median ms", f"{statistics.median(found.added_ms):.1f}")
    show(f"{kind}: added, 90th percentile ms", f"{tail:.1f}")
    show(f"{kind}: added, worst ms", f"{max(found.added_ms):.1f}")
    show(f"{kind}: of that waiting for admission, median ms", f"{statistics.median(found.waited_ms):.1f}")
    show(f"{kind}: one slot of the pace, ms", f"{60_000 / RPM / 0.992:.1f}")
    show(f"{kind}: the batch alone, share of the limit in a minute", f"{found.served / RPM:.1%}")
    show(f"{kind}: worst sliding minute at the provider, of {RPM}", str(found.worst_minute))
    show(f"{kind}: 429s", str(found.refused))


if __name__ == "__main__":
    main()
