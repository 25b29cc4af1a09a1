"""A budget in real time: two worker processes, two resources on one connection, a strict provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.stack import connection, resource, simulator, stack

RPM = 600
TPM = 60_000
ITEMS = 900
WITHIN_S = 900.0
SHAPES = ("bucket", "sliding", "minute", "slices")
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "runs", "away"]


@dataclass(frozen=True, slots=True)
class Filled:
    """What the provider saw. share_used: of the binding limit, from the second minute to the last call."""

    bound_by: str
    share_used: float
    worst_requests: int
    worst_tokens: int
    refused: int
    completed: int


def request(number: int, words: int, max_tokens: int) -> dict[str, Any]:
    """A prompt of about `words` tokens that no other equals."""
    text = " ".join(WORDS[(number + i) % len(WORDS)] for i in range(words))
    return {"messages": [{"role": "user", "content": f"{number} {text}"}], "max_tokens": max_tokens}


async def fill(bound_by: str, *, words: int, max_tokens: int, shape: str = "sliding") -> Filled:
    """Run ITEMS items on each of two resources and ask the provider."""
    options = ("--rpm", str(RPM), "--tpm", str(TPM), "--shape", shape, "--latency-ms", "200")
    limits = f'capacity = [{{period = "MINUTE", requests = {RPM}, tokens = {TPM}}}]'
    async with simulator(*options) as origin:
        setup = connection("provider", "openai-compatible", f"{origin}/v1", limits)
        setup += resource("one", "provider") + resource("two", "provider")
        async with stack(setup, workers=2) as brim:
            batches = [
                await brim.post(
                    [
                        {"resourceId": name, "request": request(number, words, max_tokens)}
                        for number in range(offset, offset + ITEMS)
                    ]
                )
                for name, offset in (("one", 0), ("two", ITEMS))
            ]
            done = [await brim.finished(batch, WITHIN_S) for batch in batches]
            async with brim.session.get(f"{origin}/stats") as answer:
                stats = await answer.json()
            async with brim.session.get(f"{origin}/timeline") as answer:
                timeline = await answer.json()
    return Filled(
        bound_by,
        share_used(timeline, stats, bound_by),
        stats["worst_minute"]["requests"],
        stats["worst_minute"]["tokens"],
        stats["refused_429"],
        sum(batch["completed"] for batch in done),
    )


def share_used(timeline: dict[str, Any], stats: dict[str, Any], bound_by: str) -> float:
    """Charged from the second minute to the last whole second of the run, against the limit for that time."""
    limit, column = (RPM, "admitted_requests") if bound_by == "requests" else (TPM, "admitted_tokens")
    first, last = int(stats["first_call_at"]) + 60, int(stats["last_call_at"])
    rows = [dict(zip(timeline["columns"], row, strict=True)) for row in timeline["seconds"]]
    charged = sum(row[column] for row in rows if first <= row["second"] < last)
    return float(charged / (limit * (last - first) / 60))
