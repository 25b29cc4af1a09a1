"""A worker while Postgres is away: what is answered is kept and recorded afterwards, and nothing new is claimed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from scheduler.bootstrap import open_core
from scheduler.settings import Settings
from tests.line import line_to
from tests.polling import eventually
from tests.workers.provider import FakeProvider
from tests.workers.world import World


async def test_answers_that_come_meanwhile_are_recorded_afterwards_and_no_call_is_made_twice(
    world: World, make_settings: Callable[..., Settings], database: str, provider: FakeProvider
) -> None:
    lease_s = 1.0
    provider.hold = asyncio.Event()
    resource = await world.resource(await world.connection(provider.base_url))
    shard = await world.shard()
    async with line_to(database) as line:
        # Fewer slots than items: some are free as soon as calls are answered.
        settings = make_settings(database_url=line.database_url, lease_ms=round(lease_s * 1000), worker_concurrency=25)
        async with open_core(settings) as core, world.worker(core):
            batch = await world.submit(resource, [str(number) for number in range(60)])
            await eventually(lambda: len(provider.seen) >= 15, "calls in flight")
            await line.cut()
            cut_s = time.monotonic()
            await eventually(lambda: time.monotonic() > cut_s + 0.5, "what was loaded before has left")
            called = len(provider.seen)
            provider.hold.set()
            provider.hold = None
            # Leases are renewed meanwhile, although nothing can be recorded.
            await eventually(lambda: time.monotonic() > cut_s + 3 * lease_s, "two leases go by")
            assert len(provider.seen) == called
            assert (await world.batch(batch)).finished == 0
            assert (await world.core.engine.queue_depths(shard)).leases >= called
            await line.connect()
            ended = await world.ended(batch)
    assert (ended.completed, ended.last_event) == (60, 62)
    assert set(provider.calls_per_text().values()) == {1}
