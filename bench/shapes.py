"""Budgets in real time: every shape of limit beside the others, each on a strict provider of its own, one Brim."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.stack import Stack, connection, resource, simulator, stack

SETTLED_S = 60
"""Shares are taken from the second minute on."""
EARLY_S = 120
"""A profile that learns from refusals may have some until then."""
LEAST_TOKENS, MOST_TOKENS = 50, 4_000
PROMPT_TOKENS = 25
"""About what the prompts below cost, as the simulator counts."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One provider: how it limits, by what, and the profile that its connection has."""

    name: str
    shape: str
    rpm: int | None = None
    tpm: int | None = None
    profile: str = "generic"

    @property
    def options(self) -> tuple[str, ...]:
        """For the simulator."""
        limit = ("--rpm", str(self.rpm)) if self.rpm else ("--tpm", str(self.tpm))
        return (*limit, "--shape", self.shape, "--latency-ms", "200")

    @property
    def capacity(self) -> str:
        """And profile, for the connection."""
        limit = f"requests = {self.rpm}" if self.rpm else f"tokens = {self.tpm}"
        return f'profile = "{self.profile}"\ncapacity = [{{period = "MINUTE", {limit}}}]'

    def items(self, minutes: int) -> int:
        """More than a run of so many minutes can use, for each of its two resources."""
        a_minute = self.rpm or (self.tpm or 0) / ((LEAST_TOKENS + MOST_TOKENS) / 2)
        return round(a_minute * (minutes + 1) * 0.6) + 50


@dataclass(frozen=True, slots=True)
class Filled:
    """What a provider saw. share_used: from the second minute on."""

    shape: Shape
    share_used: float
    worst: int
    calls: int
    refused_early: int
    refused_late: int


MINUTES = tuple(
    Shape(f"{kind}-{rpm or tpm}", kind, rpm, tpm)
    for kind in ("bucket", "sliding", "minute")
    for rpm, tpm in ((600, None), (6_000, None), (None, 600_000), (None, 60_000))
)
SLICED = tuple(
    Shape(f"slices-{profile}-{rpm}", "slices", rpm=rpm, profile=profile)
    for profile in ("generic", "azure")
    for rpm in (600, 6_000)
)


def requests(shape: Shape, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Small prompts; where tokens are limited, sizes uniform over the spread."""
    draw = random.Random(seed)
    for number in range(count):
        most = draw.randint(LEAST_TOKENS, MOST_TOKENS) - PROMPT_TOKENS if shape.tpm else 16
        yield {"messages": [{"role": "user", "content": f"Number {number:06} of {seed}"}], "max_tokens": most}


async def shapes(chosen: tuple[Shape, ...], minutes: int) -> list[Filled]:
    """Run all of them at once for so many minutes, two worker processes, two resources on each connection."""
    async with AsyncExitStack() as opened:
        origins = [await opened.enter_async_context(simulator(*shape.options)) for shape in chosen]
        setup = "".join(
            connection(shape.name, "openai-compatible", f"{origin}/v1", shape.capacity)
            + resource(f"{shape.name}-a", shape.name)
            + resource(f"{shape.name}-b", shape.name)
            for shape, origin in zip(chosen, origins, strict=True)
        )
        brim = await opened.enter_async_context(stack(setup, workers=2))
        for number, shape in enumerate(chosen):
            for seed, side in enumerate("ab", 2 * number):
                bodies = requests(shape, shape.items(minutes), seed)
                await brim.post([{"resourceId": f"{shape.name}-{side}", "request": body} for body in bodies])
        await asyncio.sleep(minutes * 60)
        return [await _filled(brim, shape, origin) for shape, origin in zip(chosen, origins, strict=True)]


async def _filled(brim: Stack, shape: Shape, origin: str) -> Filled:
    async with brim.session.get(f"{origin}/stats") as answer:
        stats = await answer.json()
    async with brim.session.get(f"{origin}/timeline") as answer:
        timeline = await answer.json()
    column, limit = ("admitted_requests", shape.rpm) if shape.rpm else ("admitted_tokens", shape.tpm)
    assert limit is not None
    rows = [dict(zip(timeline["columns"], row, strict=True)) for row in timeline["seconds"]]
    first, last = int(stats["first_call_at"]), int(stats["last_call_at"])
    counted = [row for row in rows if first + SETTLED_S <= row["second"] < last]
    return Filled(
        shape,
        sum(row[column] for row in counted) / (limit * (last - first - SETTLED_S) / 60),
        stats["worst_minute"]["requests" if shape.rpm else "tokens"],
        sum(row["admitted_requests"] + row["refused_requests"] for row in rows),
        sum(row["refused_requests"] for row in rows if row["second"] < first + EARLY_S),
        sum(row["refused_requests"] for row in rows if row["second"] >= first + EARLY_S),
    )


def line(filled: Filled) -> str:
    """One row of the report."""
    shape = filled.shape
    limit = f"{shape.rpm:,} RPM" if shape.rpm else f"{shape.tpm:,} TPM"
    refused = f"429s {filled.refused_early} early, {filled.refused_late} later"
    return (
        f"{shape.shape:<8} {shape.profile:<8} {limit:>12}  used {filled.share_used:7.2%}"
        f"  worst minute {filled.worst:>7,}  calls {filled.calls:>7,}  {refused}"
    )
