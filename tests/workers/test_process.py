"""The worker as a process: SIGTERM and SIGKILL with calls in flight."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from scheduler.domain.batch import CallbackOptions
from scheduler.ports.shards import STOPPED
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
        "BRIM_CALLBACK_ALLOW_HOSTS": "127.0.0.1",
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
    assert [process["kind"] for process in await world.core.store.shards.alive(60)] == [STOPPED]


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


@dataclass
class Receiver:
    """Takes callbacks. hold: keeps tries open until it is set."""

    url: str = ""
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    tried: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.tried.append(request.headers["X-Webhook-Id"])
        await self.hold.wait()
        self.taken.append(request.headers["X-Webhook-Id"])
        return web.Response(status=204)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def test_callbacks_of_a_killed_worker_are_sent_by_another_when_their_leases_are_over(
    world: World, make_settings: Callable[..., Settings], provider: FakeProvider
) -> None:
    resource = await world.resource(await world.connection(provider.base_url))
    settings = make_settings(lease_ms=2_000)
    async with receiving() as receiver, worker_process(settings) as doomed:
        callback = CallbackOptions(receiver.url, {}, ("item_update", "batch_update"), ())
        batch = await world.submit(resource, ["a", "b"], callback=callback)
        await world.ended(batch)
        await eventually(lambda: len(receiver.tried) == 5, "every callback is on its way")
        async with worker_process(settings) as heir:
            await said(heir, b"worker.started")
            assert set(Counter(receiver.tried).values()) == {1}
            doomed.kill()
            await doomed.wait()
            # A lease and a second is promised; what this waits for leaves room for a machine that is busy.
            await eventually(lambda: len(receiver.tried) == 10, "every callback is on its way again", 30)
            assert set(Counter(receiver.tried).values()) == {2}
            receiver.hold.set()

            async def recorded() -> bool:
                return await world.core.store.deliveries.next_due_s() is None

            await eventually(recorded, "all callbacks are recorded")
    assert len(receiver.tried) == 10
    assert set(receiver.taken) == set(receiver.tried)
