"""The worker as a process: SIGTERM and SIGKILL with calls in flight."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from scheduler.settings import Settings
from tests.polling import eventually
from tests.workers.provider import FakeProvider
from tests.workers.world import World


@asynccontextmanager
async def worker_process(settings: Settings) -> AsyncIterator[Process]:
    """A worker process that is killed at the end of the block, if it lives on."""
    assert settings.secret_key is not None
    environment = {
        **os.environ,
        "BRIM_REDIS_URL": settings.redis_url,
        "BRIM_DATABASE_URL": settings.database_url,
        "BRIM_SECRET_KEY": settings.secret_key.get_secret_value(),
        "BRIM_LEASE_MS": str(settings.lease_ms),
        "BRIM_DRAIN_S": str(settings.drain_s),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "brim_server", "worker", env=environment, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: Process, event: bytes) -> None:
    """Wait until a process logs an event."""
    assert process.stderr is not None
    async with asyncio.timeout(15):
        while event not in (line := await process.stderr.readline()):
            assert line, f"the process ended without {event!r}"


async def test_sigterm_lets_calls_end_and_exits_with_0(
    world: World, make_settings: Callable[..., Settings], provider: FakeProvider
) -> None:
    provider.hold = asyncio.Event()
    resource = await world.resource(await world.connection(provider.base_url))
    async with worker_process(make_settings(drain_s=10.0)) as process:
        batch = await world.submit(resource, [str(i) for i in range(50)])
        await eventually(lambda: len(provider.seen) == 50, "fifty calls")
        process.send_signal(signal.SIGTERM)
        await said(process, b"worker.draining")
        later = await world.submit(resource, ["not any more"])
        provider.hold.set()
        async with asyncio.timeout(15):
            assert await process.wait() == 0
    assert (await world.batch(batch)).completed == 50
    assert (await world.batch(later)).finished == 0
    assert (await world.core.engine.queue_depths(await world.shard())).leases == 0


async def test_what_a_killed_worker_had_in_flight_is_run_again_and_recorded_once(
    world: World, make_settings: Callable[..., Settings], provider: FakeProvider
) -> None:
    provider.hold = asyncio.Event()
    resource = await world.resource(await world.connection(provider.base_url))
    settings = make_settings(lease_ms=2_000)
    async with worker_process(settings) as doomed:
        batch = await world.submit(resource, [str(i) for i in range(200)])
        await eventually(lambda: len(provider.seen) == 200, "two hundred calls")
        doomed.kill()
        await doomed.wait()
    provider.hold.set()
    provider.hold = None
    async with worker_process(settings):
        ended = await world.ended(batch)
    assert (ended.completed, ended.last_event) == (200, 202)
    assert set(provider.calls_per_text().values()) == {2}
