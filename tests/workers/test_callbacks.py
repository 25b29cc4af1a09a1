"""Callbacks over real sockets, to a receiver that fails first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from scheduler.domain.batch import CallbackEvent, CallbackOptions
from scheduler.domain.errors import Unavailable
from tests.polling import eventually
from tests.workers.provider import FakeProvider
from tests.workers.world import World
from workers.callbacks import open_callback_session, post_callback

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Receiver:
    """Answers 503 to the first `failing` tries of each delivery."""

    url: str = ""
    failing: int = 0
    tries: Counter[str] = field(default_factory=Counter)
    taken: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        Webhook(SECRET).verify(body, dict(request.headers))
        assert request.headers["X-Mine"] == "1"
        delivery = request.headers["X-Webhook-Id"]
        self.tries[delivery] += 1
        if self.tries[delivery] <= self.failing:
            return web.Response(status=503, headers={"Retry-After": "0"})
        self.taken.append(json.loads(body))
        return web.Response(status=204)


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    application.router.add_post("/away", _redirect)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def _redirect(_request: web.Request) -> web.Response:
    return web.Response(status=307, headers={"Location": "/hook"})


async def test_every_event_arrives_signed_at_a_receiver_that_fails_first(world: World, provider: FakeProvider) -> None:
    resource = await world.resource(await world.connection(provider.base_url))
    async with running_receiver() as receiver:
        receiver.failing = 1
        events: tuple[CallbackEvent, ...] = ("item_update", "batch_update")
        callback = CallbackOptions(receiver.url, {"X-Mine": "1"}, events, (world.core.vault.seal(SECRET),))
        async with world.worker():
            batch = await world.submit(resource, ["a", "b", "c"], callback=callback)
            await eventually(lambda: len(receiver.taken) == 7, "all events")
    got = Counter((event["event"], event["payload"]["status"]) for event in receiver.taken)
    assert got == {
        ("ITEM_UPDATE", "RUNNING"): 3,
        ("ITEM_UPDATE", "COMPLETED"): 3,
        ("BATCH_UPDATE", "COMPLETED"): 1,
    }
    assert {event["payload"]["batchId"] for event in receiver.taken} == {str(batch.batch_id)}
    assert set(receiver.tries.values()) == {2}


async def test_calls_that_are_claimed_again_are_told_under_one_id(
    world: World, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the announcement got lost: nothing leaves, the items are claimed and announced again."""
    resource = await world.resource(await world.connection(provider.base_url))
    real, told = world.core.store.deliveries.add_running, Counter[int]()

    async def lost_at_first(items: Sequence[tuple[UUID, int, int]], now: datetime) -> None:
        await real(items, now)
        told.update(seq for _, seq, _ in items)
        if max(told.values()) == 1:
            raise Unavailable("The answer got lost.")

    monkeypatch.setattr(world.core.store.deliveries, "add_running", lost_at_first)
    async with running_receiver() as receiver:
        callback = CallbackOptions(receiver.url, {"X-Mine": "1"}, ("item_update",), (world.core.vault.seal(SECRET),))
        async with world.worker():
            batch = await world.submit(resource, ["a", "b", "c"], callback=callback)
            await world.ended(batch)
            await eventually(lambda: len(receiver.taken) == 6, "all events")
        listed = (await world.core.store.deliveries.list(batch.batch_id, after=None, limit=100)).data
    assert max(told.values()) >= 2
    assert Counter(one.kind for one in listed) == {"running": 3, "item": 3}
    assert receiver.tries.keys() == {str(one.delivery_id) for one in listed}


async def test_redirects_are_not_followed() -> None:
    async with running_receiver() as receiver, open_callback_session({"127.0.0.1"}) as session:
        url = receiver.url.replace("/hook", "/away")
        answer = await post_callback(session, url, b"{}", {})
    assert answer.status == 307
    assert receiver.tries == {}
