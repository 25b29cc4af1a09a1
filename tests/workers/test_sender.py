"""The sender: how many at once to whom, how fast, and that one receiver delays no other."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from scheduler.domain.batch import CallbackEvent, CallbackOptions
from scheduler.domain.errors import Unavailable
from tests.polling import eventually
from tests.workers.world import World
from workers.callbacks import open_callback_session
from workers.delivery_leases import DeliveryLeases
from workers.duty import every
from workers.parcels import Parcels
from workers.sender import Sender

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ITEM_UPDATE: tuple[CallbackEvent, ...] = ("item_update",)


@dataclass
class Receiver:
    """Counts what comes, and how much of it at once. hold: keeps tries open until it is set."""

    url: str = ""
    taken: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)
    now: int = 0
    most: int = 0
    hold: asyncio.Event | None = None

    async def handle(self, request: web.Request) -> web.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        self.tried[request.headers["X-Webhook-Id"]] += 1
        try:
            body = await request.text()
            if self.hold is not None:
                await self.hold.wait()
            Webhook(SECRET).verify(body, dict(request.headers))
            self.taken[request.headers["X-Webhook-Id"]] += 1
        finally:
            self.now -= 1
        return web.Response(status=204)


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sending(
    world: World, concurrency: int = 64, host_concurrency: int = 8, *, holder: str = "me", lease_s: float = 10.0
) -> AsyncIterator[Sender]:
    """A sender that runs for the length of the block."""
    async with open_callback_session({"127.0.0.1"}) as session:
        parcels = Parcels((), world.core.vault.open)
        store = world.core.store.deliveries
        leases = DeliveryLeases(store, holder, lease_s, time.monotonic)
        now, clock = lambda: datetime.now(UTC), time.monotonic
        sender = Sender(store, session, holder, concurrency, host_concurrency, now, parcels, leases, clock)
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(every(0, sender.run_once, stop, name="sender")),
            asyncio.create_task(every(0, sender.record_once, stop, name="delivery-records")),
            asyncio.create_task(every(lease_s / 4, leases.run_once, stop, name="delivery-leases")),
        ]
        try:
            yield sender
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await sender.finish(0)


async def deliveries(world: World, url: str, count: int) -> None:
    """So many due deliveries to one receiver."""
    resource = await world.resource(await world.connection("http://127.0.0.1:9/v1"))
    callback = CallbackOptions(url, {}, ITEM_UPDATE, (world.core.vault.seal(SECRET),))
    batch = await world.store_batch(resource, ["x"] * count, callback=callback)
    items = [(batch.batch_id, seq, 1) for seq in range(1, count + 1)]
    await world.core.store.deliveries.add_running(items, datetime.now(UTC))


@pytest.mark.parametrize("most", [1, 3, 8])
async def test_no_receiver_gets_more_at_once_than_it_may(world: World, most: int) -> None:
    async with receiving() as receiver, sending(world, host_concurrency=most) as sender:
        receiver.hold = asyncio.Event()
        await deliveries(world, receiver.url, 30)
        sender.wake()
        await eventually(lambda: receiver.now == most or receiver.now >= max(1, most - most // 2), "tries under way")
        receiver.hold.set()
        await eventually(lambda: len(receiver.taken) == 30, "all deliveries")
        assert receiver.most <= most
        assert set(receiver.taken.values()) == {1}


async def test_a_receiver_that_hangs_delays_nobody_else(world: World) -> None:
    async with receiving() as slow, receiving() as good, sending(world, concurrency=16) as sender:
        slow.hold = asyncio.Event()
        await deliveries(world, slow.url, 200)
        sender.wake()
        await eventually(lambda: slow.now > 0, "a try that hangs")
        started_s = time.monotonic()
        await deliveries(world, good.url, 200)
        sender.wake()
        await eventually(lambda: len(good.taken) == 200, "the other receiver's deliveries")
        assert slow.most <= 8
        assert slow.taken == {}
        assert time.monotonic() - started_s < 15
        slow.hold.set()
        await eventually(lambda: len(slow.taken) == 200, "its own, in the end")


async def test_hundreds_of_deliveries_a_second_go_out(world: World) -> None:
    count = 1_000
    async with receiving() as receiver:
        await deliveries(world, receiver.url, count)
        started_s = time.process_time()
        async with sending(world):
            await eventually(lambda: len(receiver.taken) == count, "all deliveries", 50)
        per_cpu_s = count / (time.process_time() - started_s)
    # Of this process' own time, receiver and its check of signatures included: others run tests beside us.
    assert per_cpu_s > 150, f"{per_cpu_s:.0f} a second"
    assert receiver.most <= 8


async def test_what_was_due_while_a_receiver_was_down_arrives_when_it_is_up(world: World) -> None:
    async with receiving() as gone:
        url = gone.url
    async with sending(world) as sender:
        await deliveries(world, url, 40)
        sender.wake()

        async def tried() -> bool:
            rows = await world.core.store.deliveries.next_due_s()
            return rows is not None and rows > 0.2

        await eventually(tried, "tries that failed")
        async with receiving(int(url.rpartition(":")[2].partition("/")[0])) as back:
            await eventually(lambda: len(back.taken) == 40, "all deliveries", 25)
            assert set(back.taken.values()) == {1}


async def _first_lease_ends_s(world: World) -> float:
    """When the lease that ends first ends, on the monotonic clock: all that is stored is leased."""
    due_s = await world.core.store.deliveries.next_due_s()
    assert due_s is not None
    return time.monotonic() + due_s


async def test_a_try_that_takes_longer_than_a_lease_is_made_by_one_sender(world: World) -> None:
    async with (
        receiving() as receiver,
        sending(world, holder="one", lease_s=0.5) as one,
        sending(world, holder="other", lease_s=0.5) as other,
    ):
        receiver.hold = asyncio.Event()
        await deliveries(world, receiver.url, 3)
        one.wake()
        await eventually(lambda: len(receiver.tried) == 3, "tries under way")
        first_end_s = await _first_lease_ends_s(world)

        async def prolonged() -> bool:
            other.wake()
            return await _first_lease_ends_s(world) - first_end_s > 1.5

        await eventually(prolonged, "leases prolonged three times over")
        receiver.hold.set()
        await eventually(lambda: len(receiver.taken) == 3, "all deliveries")
        assert set(receiver.tried.values()) == {1}


async def test_what_was_sent_while_postgres_was_away_is_not_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, away = world.core.store.deliveries, asyncio.Event()
    due = store.next_due_s

    def cut(name: str) -> None:
        real = getattr(store, name)

        async def call(*args: object, **options: object) -> object:
            if away.is_set():
                raise Unavailable("Postgres is away.")
            return await real(*args, **options)

        monkeypatch.setattr(store, name, call)

    for name in ("claim", "record", "renew", "next_due_s"):
        cut(name)
    async with receiving() as receiver, sending(world, lease_s=0.3) as sender:
        receiver.hold = asyncio.Event()
        await deliveries(world, receiver.url, 3)
        sender.wake()
        await eventually(lambda: len(receiver.tried) == 3, "tries under way")
        away.set()
        receiver.hold.set()
        await eventually(lambda: len(receiver.taken) == 3, "all deliveries")

        async def over() -> bool:
            return await due() == 0

        await eventually(over, "the leases are over")
        away.clear()
        sender.wake()

        async def recorded() -> bool:
            return await store.next_due_s() is None

        await eventually(recorded, "all is recorded")
        assert set(receiver.tried.values()) == {1}
