"""A limit cut to a third and raised again while it is in use: first the provider changes, then Brim is told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from bench.stack import Stack, calls_of, simulator, single, stack

RPM, CUT_RPM = 6_000, 2_000
RUNS_S, CUT_S, RAISED_S = 65, 25, 10
"""At the full limit, at the cut one, and at the full one again."""
ITEMS = RPM * 2
ADMIN_KEY = "admin-key-of-the-bench"
FULL = 0.95
"""Share of the rate that counts as full use, over a second."""


@dataclass(frozen=True, slots=True)
class Change:
    """What the provider saw. late: calls refused later than a second after the change. full_s: from the change to the
    first second at the rate that the limit lets through then; None: not reached before the next change."""

    rpm: int
    told_ms: float
    refused: int
    late: int
    full_s: float | None


async def changes() -> tuple[Change, Change]:
    """Cut and raise a sliding limit under a backlog, two worker processes."""
    options = ("--rpm", str(RPM), "--shape", "sliding", "--latency-ms", "200")
    async with simulator(*options) as origin:
        setup = single("openai-compatible", f"{origin}/v1", f'capacity = [{{period = "MINUTE", requests = {RPM}}}]')
        async with stack(setup, workers=2, settings={"BRIM_ADMIN_KEY": ADMIN_KEY}) as brim:
            body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16}
            await brim.post([{"resourceId": "model", "request": body} for _ in range(ITEMS)])
            await asyncio.sleep(RUNS_S)
            cut_at, cut_ms = await _change(brim, origin, CUT_RPM)
            await asyncio.sleep(CUT_S)
            raised_at, raised_ms = await _change(brim, origin, RPM)
            await asyncio.sleep(RAISED_S)
            calls = await calls_of(brim.session, origin)
    return _seen(calls, CUT_RPM, cut_at, cut_ms, raised_at), _seen(calls, RPM, raised_at, raised_ms, time.time())


async def _change(brim: Stack, origin: str, rpm: int) -> tuple[float, float]:
    """Tell the provider, then Brim. Answers when, and how long Brim took to say that it is so."""
    address = brim.base.replace("completion-batch", "ai-connection")
    as_admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with brim.session.get(address, headers=as_admin) as answer:
        answer.raise_for_status()
        only = (await answer.json())["data"][0]
    changed_at = time.time()
    async with brim.session.post(f"{origin}/settings", json={"rpm": rpm}) as answer:
        answer.raise_for_status()
    before_s = time.perf_counter()
    body = {"capacity": [{"period": "MINUTE", "requests": rpm}]}
    async with brim.session.put(f"{address}/{only['connectionId']}", json=body, headers=as_admin) as answer:
        answer.raise_for_status()
    return changed_at, (time.perf_counter() - before_s) * 1000


def _seen(calls: list[dict[str, Any]], rpm: int, since_s: float, told_ms: float, until_s: float) -> Change:
    within = [call for call in calls if since_s * 1000 <= call["arrival_ms"] < until_s * 1000]
    refused = [call["arrival_ms"] for call in within if call["status"] == 429]
    let_in = [call["arrival_ms"] for call in within if call["status"] == 200]
    late = sum(at_ms > since_s * 1000 + 1000 for at_ms in refused)
    return Change(rpm, told_ms, len(refused), late, _full_s(let_in, rpm, since_s * 1000))


def _full_s(let_in_ms: list[float], rpm: int, since_ms: float) -> float | None:
    wanted = rpm / 60 * FULL
    for i, at_ms in enumerate(let_in_ms):
        if sum(1 for other in let_in_ms[i : i + rpm] if other < at_ms + 1000) >= wanted:
            return (at_ms - since_ms) / 1000
    return None
