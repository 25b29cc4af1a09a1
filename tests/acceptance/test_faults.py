"""Processes that die: nothing lost, nothing recorded twice."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from bench.stack import simulator, single, stack
from tests.acceptance.conftest import WITHIN_S, all_items, follow, items, stats
from tests.polling import eventually
from tests.processes import command_line, family

LEASE = {"BRIM_LEASE_MS": "5000"}


def worker_pids(pid: int) -> list[int]:
    return [child for child in family(pid) if "worker" in command_line(child)]


@pytest.mark.slow(15)
@pytest.mark.timeout(150)
async def test_a_killed_worker_loses_nothing_and_nothing_is_recorded_twice() -> None:
    async with (
        simulator("--latency-ms", "2000") as origin,
        stack(single("openai-compatible", f"{origin}/v1"), workers=2, settings=LEASE) as brim,
    ):
        count = 600
        batch_id = await brim.post(items(count))

        async def ready() -> bool:
            return bool((await stats(brim, origin))["in_flight"] >= 200)

        await eventually(ready, "the batch is under way", WITHIN_S)
        victims = worker_pids(brim.pid)
        assert len(victims) == 2
        os.kill(victims[0], signal.SIGKILL)
        batch = await brim.finished(batch_id, WITHIN_S)
        assert (batch["status"], batch["completed"]) == ("COMPLETED", count)
        seen = await follow(brim, batch_id)
        completed = Counter(f.data["payload"]["customId"] for f in seen if f.action == "item-completed")
        assert len(completed) == count
        assert set(completed.values()) == {1}
        assert [f.event_id for f in seen if f.event_id is not None] == list(range(1, count + 3))
        assert Counter(each["status"] for each in await all_items(brim, batch_id)) == {"COMPLETED": count}
        # `up` has started another one in its place.
        await eventually(lambda: len(worker_pids(brim.pid)) >= 2, "a new worker", WITHIN_S)


@pytest.mark.slow(13)
@pytest.mark.timeout(150)
async def test_a_batch_ends_by_itself_after_redis_lost_everything() -> None:
    async with (
        simulator("--latency-ms", "20") as origin,
        stack(single("openai-compatible", f"{origin}/v1"), settings={**LEASE, "BRIM_RECONCILE_S": "1"}) as brim,
    ):
        batch_id = await brim.post(items(8000))

        async def ready() -> bool:
            return bool((await brim.batch(batch_id))["completed"] >= 1000)

        await eventually(ready, "the batch is under way", WITHIN_S)
        await brim.redis.flushall()
        batch = await brim.finished(batch_id, WITHIN_S)
        assert (batch["status"], batch["completed"]) == ("COMPLETED", 8000)
