"""Large bodies that come at once are held as far as there is room; the rest is told to come again."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx
import pytest

from api.room import FREE_BYTES, Room
from scheduler.bootstrap import open_core
from scheduler.domain.errors import Unavailable
from scheduler.settings import Settings
from tests.api.world import ApiWorld, inhabited, item
from tests.polling import eventually

ROOM_BYTES = 1_000_000


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    """The room of the API under test."""
    room = Room(ROOM_BYTES)

    def made(most_bytes: int) -> Room:
        assert most_bytes == ROOM_BYTES
        return room

    monkeypatch.setattr("api.wiring.Room", made)
    return room


@pytest.fixture
async def world(settings: Settings, room: Room) -> AsyncIterator[ApiWorld]:
    """A tenant on an API with room for a million bytes, half of its largest body."""
    async with open_core(settings.model_copy(update={"bodies_bytes": ROOM_BYTES})) as core, inhabited(core) as world:
        yield world


def batch_of(size: int) -> bytes:
    """A batch of about `size` bytes of JSON."""
    return json.dumps({"type": "ASYNC", "items": [item(1)], "metadata": {"pad": "x" * size}}).encode()


class Slow:
    """A body of which the last bytes are held back."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.rest = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body[:-10]
        await self.rest.wait()
        yield self._body[-10:]


async def test_what_there_is_no_room_for_is_told_to_come_again(world: ApiWorld, room: Room) -> None:
    def post(body: Any, **headers: str) -> Awaitable[httpx.Response]:
        return world.client.post(world.batches, content=body, headers={"content-type": "application/json", **headers})

    slow = Slow(batch_of(900_000))
    first = asyncio.ensure_future(post(slow))

    await eventually(lambda: room.held > 800_000, "the first body has come")
    refused = await post(batch_of(500_000), **{"Idempotency-Key": "one"})
    assert (refused.status_code, refused.json()["errorCode"]) == (429, "TOO_MUCH_WAITING")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await post(gzip.compress(batch_of(500_000)), **{"Content-Encoding": "gzip"})).status_code == 429
    direct = {"model": "r", "messages": [{"role": "user", "content": "x" * 500_000}]}
    called = await world.client.post("/v1/chat/completions", json=direct)
    assert (called.status_code, called.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert (await world.client.post("/v1/messages/batches", content=batch_of(500_000))).status_code == 429
    assert (await post(batch_of(10))).status_code == 201, "small ones are never refused for it"
    assert room.held < 900_000
    slow.rest.set()
    assert (await first).status_code == 201
    again = await post(batch_of(900_000), **{"Idempotency-Key": "one"})
    assert again.status_code == 201, "what was held is given back, and the key was not taken"
    assert (await post(batch_of(1_900_000))).status_code == 201, "one that is alone may be larger"
    assert (await post(batch_of(2_100_000))).status_code == 413
    assert room.held == 0


def test_a_share_that_was_refused_holds_nothing() -> None:
    room = Room(100)
    with room.share() as first, room.share() as second:
        assert first.take(FREE_BYTES + 60)
        assert second.take(FREE_BYTES + 40)
        assert not second.take(1)
        assert room.held == 60
        assert not second.take(1)
        with pytest.raises(Unavailable, match="large bodies"):
            second.require()
        assert first.take(1_000)
        first.require()
    assert room.held == 0
