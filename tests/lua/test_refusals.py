"""pause_budget: what a refusal teaches also where the limit is one that was learned of a model."""

from __future__ import annotations

import pytest

from scheduler.domain.work import PauseCause
from tests.lua.conftest import SHARD, Bench, minute
from tests.lua.test_observe import MODEL, PACE, queue, tell


async def taken_in(bench: Bench, ms: int) -> int:
    """How many calls start, and end at once, in this time."""
    until, taken = bench.now_ms + ms, 0
    while bench.now_ms < until:
        leases = (await bench.claim()).leases
        taken += len(leases)
        await bench.settle(leases)
        await bench.after(50)
    return taken


@pytest.mark.parametrize("learned", [False, True])
async def test_growth_that_was_refused_goes_on_slowly(bench: Bench, learned: bool) -> None:
    limit = minute(requests=600, pace=PACE)
    await bench.limit("c", *([] if learned else [limit]))
    await queue(bench)
    await bench.push(1, 1_000)
    await tell(bench, limit=limit)
    await taken_in(bench, 30_000)  # about half of the limit
    await bench.engine.pause_budget(SHARD, "c", 0, "slow down", PauseCause.GROWTH, MODEL)
    await taken_in(bench, 5_000)
    assert 0.4 * 300 < await taken_in(bench, 30_000) < 0.55 * 300


@pytest.mark.parametrize("learned", [False, True])
async def test_after_a_refusal_bursts_are_smaller(bench: Bench, learned: bool) -> None:
    limit = minute(requests=6_000, pace=PACE)
    await bench.limit("c", *([] if learned else [limit]))
    await queue(bench)
    await bench.push(1, 1_000)
    await tell(bench, limit=limit)
    first = (await bench.claim(slots=128)).leases
    assert len(first) == 99
    await bench.settle(first)
    await bench.engine.pause_budget(SHARD, "c", 0, "429", PauseCause.LIMIT, MODEL)
    assert await taken_in(bench, 5_000) > 100, "one probe opens both"
    await bench.after(30_000)
    assert 45 <= len((await bench.claim(slots=128)).leases) <= 50
