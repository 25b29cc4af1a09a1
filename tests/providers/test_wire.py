"""Calls over real sockets: when they leave, and what their troubles are called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from scheduler.domain.outcome import Failed, Retry, Succeeded
from scheduler.domain.setup import Provider
from scheduler.providers.adapters import Adapters
from scheduler.providers.addresses import Address
from scheduler.providers.call import Account, Call, Departure, TooLate
from scheduler.providers.wire import open_session
from tests.workers.provider import FakeProvider, running_provider


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with running_provider() as provider:
        yield provider


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as session:
        yield session


def call_to(base_url: str, **changes: Any) -> Call:
    values: dict[str, Any] = {
        "account": Account(
            UUID(int=1), "c", Provider.OPENAI_COMPATIBLE, Address(base_url), {"Authorization": "Bearer k"}
        ),
        "endpoint": "/v1/chat/completions",
        "model": "m",
        "request": b'{"messages":[{"role":"user","content":"x"}]}',
        "default_args": {},
        "timeout_s": 5.0,
        "departure": Departure(asyncio.get_running_loop().time() + 5),
    }
    return Call(**(values | changes))


async def test_a_call_is_stamped_when_it_leaves(provider: FakeProvider, session: aiohttp.ClientSession) -> None:
    before = asyncio.get_running_loop().time()
    call = call_to(provider.base_url)
    assert isinstance(await Adapters(session).send(call), Succeeded)
    assert call.departure.sent_s is not None
    assert before <= call.departure.sent_s <= provider.seen[0].at_s


async def test_a_call_that_would_leave_too_late_is_not_made(
    provider: FakeProvider, session: aiohttp.ClientSession
) -> None:
    call = call_to(provider.base_url, departure=Departure(asyncio.get_running_loop().time() - 0.001))
    with pytest.raises(TooLate):
        await Adapters(session).send(call)
    assert call.departure.sent_s is None
    assert provider.seen == []
    assert isinstance(await Adapters(session).send(call_to(provider.base_url)), Succeeded)


async def test_a_refused_connection_was_never_sent(session: aiohttp.ClientSession) -> None:
    async with running_provider() as gone:
        base_url = gone.base_url
    call = call_to(base_url)
    end = await Adapters(session).send(call)
    assert end == Retry("The provider refused the connection.", "PROVIDER_UNREACHABLE", transport=True)
    assert call.departure.sent_s is None


async def test_a_hanging_provider_times_out(provider: FakeProvider, session: aiohttp.ClientSession) -> None:
    provider.hold = asyncio.Event()
    end = await Adapters(session).send(call_to(provider.base_url, timeout_s=0.05))
    assert isinstance(end, Retry)
    assert (end.code, end.transport) == ("PROVIDER_TIMEOUT", True)


async def test_a_name_that_does_not_resolve_is_unreachable(session: aiohttp.ClientSession) -> None:
    end = await Adapters(session).send(call_to("http://nowhere.invalid/v1"))
    assert isinstance(end, Retry)
    assert (end.code, end.transport) == ("PROVIDER_UNREACHABLE", True)


async def test_a_broken_request_or_url_fails_without_a_call(
    provider: FakeProvider, session: aiohttp.ClientSession
) -> None:
    adapter = Adapters(session)
    assert isinstance(await adapter.send(call_to(provider.base_url, request=b"[]")), Failed)
    assert isinstance(await adapter.send(call_to("not a url")), Failed)
    assert provider.seen == []


async def test_the_key_shows_nowhere(session: aiohttp.ClientSession) -> None:
    assert "Bearer" not in repr(call_to("http://127.0.0.1:9/v1"))
