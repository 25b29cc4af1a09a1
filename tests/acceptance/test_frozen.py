"""A Redis that stands still: connections stay open and nothing answers, for longer than anybody waits for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from bench.stack import Stack, simulator, single, stack
from tests.acceptance.conftest import WITHIN_S, all_items, follow, items, stats
from tests.chaos.servers import Servers
from tests.polling import eventually

ITEMS = 500
RPM = 12_000
LIMIT = f'capacity = [{{period = "MINUTE", requests = {RPM}}}]'
ANSWERED_S = 30.0


async def explained(brim: Stack, batch_id: str) -> tuple[int, str | None]:
    """Status and Retry-After of a question that only Redis can answer."""
    patience = aiohttp.ClientTimeout(ANSWERED_S)
    async with brim.session.get(f"{brim.base}/{batch_id}/explain", timeout=patience) as answer:
        await answer.read()
        return answer.status, answer.headers.get("Retry-After")


@pytest.mark.slow(25)
@pytest.mark.timeout(150)
async def test_a_batch_outlives_a_redis_that_stands_still_for_longer_than_anybody_waits(tmp_path: Path) -> None:
    async with (
        Servers(tmp_path / "data") as servers,
        simulator("--latency-ms", "300", "--rpm", str(RPM), "--shape", "sliding") as origin,
        stack(
            single("openai-compatible", f"{origin}/v1", LIMIT),
            workers=2,
            settings={
                "BRIM_REDIS_URL": servers.redis_url,
                "BRIM_DATABASE_URL": servers.database_url,
                "BRIM_LEASE_MS": "3000",
                "BRIM_RECONCILE_S": "1",
            },
        ) as brim,
    ):
        batch_id = await brim.post(items(ITEMS))

        async def under_way() -> bool:
            return bool((await brim.batch(batch_id))["completed"] >= 100)

        await eventually(under_way, "the batch is under way", WITHIN_S)
        servers.stop("redis")
        try:
            # These come back when a socket's time-out is over, so Redis stands still for longer than that, and than a
            # lease. What is asked of Postgres alone is answered; a batch is accepted.
            asked, later = await asyncio.gather(explained(brim, batch_id), brim.post(items(10, offset=ITEMS)))
            assert asked == (503, "1")
            meanwhile = await brim.batch(batch_id)
            assert meanwhile["status"] == "RUNNING"
            calls = (await stats(brim, origin))["requests"]
            assert calls < ITEMS
        finally:
            servers.go_on("redis")
        for each, count in ((batch_id, ITEMS), (later, 10)):
            batch = await brim.finished(each, WITHIN_S)
            assert (batch["status"], batch["completed"]) == ("COMPLETED", count)
            assert Counter(item["status"] for item in await all_items(brim, each)) == {"COMPLETED": count}
            numbered = [frame for frame in await follow(brim, each) if frame.event_id is not None]
            assert [frame.event_id for frame in numbered] == list(range(1, count + 3))
            told = Counter(f.data["payload"]["customId"] for f in numbered if f.action == "item-completed")
            assert set(told.values()) == {1}
        seen = await stats(brim, origin)
        assert seen["refused_429"] == 0
        assert seen["worst_minute"]["requests"] <= RPM
