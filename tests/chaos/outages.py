"""One store lost at full speed, in figures: FLUSHALL at half of a large batch, Postgres away for ten seconds."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.stack import Stack, simulator, single, stack
from tests.acceptance.conftest import follow
from tests.chaos.clients import request_of
from tests.chaos.servers import Servers
from tests.polling import eventually

WIPED_ITEMS = 20_000
WIPED_RPM = 12_000
OUTAGE_ITEMS = 4_500
OUTAGE_RPM = 6_000
OUTAGE_S = 10.0
FULL_SPEED_S = 10.0
WITHIN_S = 280.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen. repeats: calls beyond the first of an item; after_answer: those whose item had been answered.
    worst_minute: requests at the door. in_order: every numbered event once and in order, every item ended once."""

    items: int
    completed: int
    repeats: int
    after_answer: int
    refused: int
    worst_minute: int
    limit: int
    in_order: bool
    took_s: float

    @property
    def kept(self) -> bool:
        """Whether everything that holds for both outages was seen."""
        whole = self.completed == self.items and self.in_order
        return whole and self.refused == 0 and self.worst_minute <= self.limit


@asynccontextmanager
async def _limited(rpm: int) -> AsyncIterator[tuple[Stack, Servers, str]]:
    """A stack of two workers under a limit that the provider holds strictly, on servers that can be struck."""
    folder = Path(tempfile.mkdtemp(prefix="brim-outage-"))
    limit = f'capacity = [{{period = "MINUTE", requests = {rpm}}}]'
    try:
        async with Servers(folder) as servers:
            settings = {"BRIM_REDIS_URL": servers.redis_url, "BRIM_DATABASE_URL": servers.database_url}
            async with (
                simulator("--latency-ms", "300", "--rpm", str(rpm), "--shape", "sliding") as origin,
                stack(single("openai-compatible", f"{origin}/v1", limit), workers=2, settings=settings) as brim,
            ):
                yield brim, servers, origin
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _post(brim: Stack, name: str, count: int) -> str:
    ids = [f"{name}-{number}" for number in range(count)]
    return await brim.post([{"resourceId": "model", "customId": each, "request": request_of(each)} for each in ids])


async def _seen(brim: Stack, origin: str, batch_id: str, limit: int, started: float) -> Outcome:
    batch = await brim.finished(batch_id, WITHIN_S)
    took_s = time.monotonic() - started
    frames = await follow(brim, batch_id)
    numbers = [frame.event_id for frame in frames if frame.event_id is not None]
    ended = [frame.data["payload"]["customId"] for frame in frames if frame.action == "item-completed"]
    async with brim.session.get(f"{origin}/stats") as answer:
        stats: dict[str, Any] = json.loads(await answer.read())
    return Outcome(
        items=batch["totalItems"],
        completed=batch["completed"],
        repeats=stats["duplicates"]["repeats"],
        after_answer=stats["duplicates"]["repeats_after_answer"],
        refused=stats["refused_429"],
        worst_minute=stats["worst_minute"]["requests"],
        limit=limit,
        in_order=numbers == list(range(1, batch["totalItems"] + 3))
        and len(set(ended)) == len(ended) == len(numbers) - 2,
        took_s=took_s,
    )


async def wipe(items: int = WIPED_ITEMS, rpm: int = WIPED_RPM) -> Outcome:
    """FLUSHALL when half of the batch is recorded."""
    async with _limited(rpm) as (brim, servers, origin):
        started = time.monotonic()
        batch_id = await _post(brim, "wiped", items)

        async def is_half_done() -> bool:
            return bool((await brim.batch(batch_id))["completed"] >= items // 2)

        await eventually(is_half_done, "half of the batch", WITHIN_S)
        await servers.flush()
        return await _seen(brim, origin, batch_id, rpm, started)


async def outage(items: int = OUTAGE_ITEMS, rpm: int = OUTAGE_RPM) -> Outcome:
    """kill -9 of Postgres at full speed; it comes back after OUTAGE_S."""
    async with _limited(rpm) as (brim, servers, origin):
        started = time.monotonic()
        batch_id = await _post(brim, "outage", items)
        await asyncio.sleep(FULL_SPEED_S)
        await servers.kill("postgres")
        await asyncio.sleep(OUTAGE_S)
        await servers.start_postgres()
        return await _seen(brim, origin, batch_id, rpm, started)
