"""Direct calls over the official `openai` package, through to a provider and back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from scheduler.domain.work import BudgetHeadroom
from tests.api.world import ApiWorld
from tests.polling import eventually
from tests.workers.provider import FakeProvider, refuse, running_provider

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}
EVENTS = [
    b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"\xc3\xa9"}}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}\n\n',
    b"data: [DONE]\n\n",
]


class Streams:
    """A provider that answers with events; `hold` keeps it waiting before the last ones, `cut` breaks it off there."""

    def __init__(self) -> None:
        self.base_url = ""
        self.hold: asyncio.Event | None = None
        self.cut = False
        self.headers: dict[str, str] = {}
        self.bodies: list[dict[str, Any]] = []
        self.gone = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "x-request-id": "q-1", **self.headers}
        answer = web.StreamResponse(headers=headers)
        await answer.prepare(request)
        await answer.write(EVENTS[0])
        try:
            if self.hold:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.gone.set()
            raise
        if self.cut:
            assert request.transport is not None
            request.transport.abort()
            return answer
        for event in EVENTS[1:]:
            await answer.write(event)
        return answer


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider that answers at once."""
    async with running_provider() as provider:
        yield provider


@pytest.fixture
async def streams() -> AsyncIterator[Streams]:
    """A provider that streams."""
    streams, application = Streams(), web.Application()
    application.router.add_post("/{path:.*}", streams.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    streams.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield streams
    if streams.hold:
        streams.hold.set()
    await runner.cleanup()


@pytest.fixture
async def client(world: ApiWorld) -> AsyncIterator[AsyncOpenAI]:
    """The official client, with the tenant's key, that never tries again by itself."""
    async with AsyncOpenAI(base_url=f"{world.url}/v1", api_key=world.key, max_retries=0) as client:
        yield client


async def connect(world: ApiWorld, base_url: str, name: str = "p", **more: Any) -> str:
    config = {"baseUrl": base_url, "apiKey": "sk-of-the-provider"}
    body = {"name": name, "provider": "openai-compatible", "config": config, **more}
    return str((await world.made(world.at("ai-connection"), body))["connectionId"])


async def offer(world: ApiWorld, name: str = "m", *connections: str, **more: Any) -> str:
    first, *others = connections or ("p",)
    body = {
        "name": name,
        "model": {"connectionName": first, "model": f"{first}-model"},
        "fallbackModels": [{"connectionName": other, "model": f"{other}-model"} for other in others],
        **more,
    }
    return str((await world.made(world.at("ai-resource"), body))["resourceId"])


async def budget(world: ApiWorld, budget_id: str) -> BudgetHeadroom:
    shard = await world.shard()
    return (await world.core.engine.headroom(shard, [budget_id]))[budget_id]


async def idle(world: ApiWorld, connection: str) -> None:
    async def no_lease() -> bool:
        return (await world.core.engine.queue_depths(await world.shard())).leases == 0

    await eventually(no_lease, "every lease has ended")
    assert (await budget(world, f"connection-{connection}")).in_flight == 0


async def test_a_chat_goes_through_with_its_defaults_and_is_charged(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    connection = await connect(
        world, provider.base_url, capacity=[{"period": "MINUTE", "requests": 100, "tokens": 9000}]
    )
    await offer(world, defaultArgs={"temperature": 0.25})
    made = await client.chat.completions.with_raw_response.create(model="m", **CHAT)
    assert made.parse().choices[0].message.content == "yes"
    assert made.headers["x-request-id"] == "r-1"
    assert float(made.headers["brim-wait-ms"]) < 2_000
    (seen,) = provider.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == "Bearer sk-of-the-provider"
    assert seen.body == {**CHAT, "model": "p-model", "temperature": 0.25, "stream": False}
    await idle(world, connection)
    (limit,) = (await budget(world, f"connection-{connection}")).limits
    assert limit.requests_used == 1
    assert limit.tokens_used >= 20


async def test_a_model_can_be_called_as_soon_as_it_is_made(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    await connect(world, provider.base_url)
    for name in ("first", "second", "third"):
        await offer(world, name)
        made = await client.chat.completions.create(model=name, **CHAT)
        assert made.choices[0].message.content == "yes"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("completions", {"prompt": "Once", "max_tokens": 3}),
        ("embeddings", {"input": ["a", "b"]}),
        ("responses", {"input": "Hi", "max_output_tokens": 3}),
        ("moderations", {"input": "Hi"}),
    ],
)
async def test_every_endpoint_goes_to_its_own_path(
    world: ApiWorld, provider: FakeProvider, path: str, body: dict[str, Any]
) -> None:
    await connect(world, provider.base_url)
    await offer(world)
    provider.reply = lambda _seen: (200, {}, b'{"odd": [1,  2]}')
    answer = await world.client.post(f"/v1/{path}", json={"model": "m", **body})
    assert (answer.status_code, answer.content) == (200, b'{"odd": [1,  2]}')
    (seen,) = provider.seen
    assert seen.path == f"/v1/{path}"
    assert seen.body["model"] == "p-model"
    assert ("stream" in seen.body) == (path in ("completions", "responses"))


async def test_a_stream_is_passed_through_byte_for_byte(world: ApiWorld, streams: Streams) -> None:
    profile: dict[str, Any] = {"profile": "anthropic", "capacity": [{"period": "MINUTE", "tokens": 9000}]}
    connection = await connect(world, streams.base_url, **profile)
    await offer(world)
    body = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, **CHAT}
    async with world.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        received = await answer.aread()
    assert received == b"".join(EVENTS)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-request-id"] == "q-1"
    assert streams.bodies == [{**body, "model": "p-model"}]
    await idle(world, connection)
    (limit,) = (await budget(world, f"connection-{connection}")).limits
    assert limit.tokens_used == 6  # its usage was read in passing


async def test_a_stream_that_breaks_off_ends_as_an_error(
    world: ApiWorld, streams: Streams, client: AsyncOpenAI
) -> None:
    connection = await connect(world, streams.base_url)
    await offer(world)
    streams.cut = True
    stream = await client.chat.completions.create(model="m", stream=True, **CHAT)
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in stream:
            pass
    await idle(world, connection)


async def test_a_caller_that_goes_away_takes_its_call_along(
    world: ApiWorld, provider: FakeProvider, streams: Streams, client: AsyncOpenAI
) -> None:
    provider.hold, streams.hold = asyncio.Event(), asyncio.Event()
    connection = await connect(world, provider.base_url, maxInFlight=1)
    streaming = await connect(world, streams.base_url, "s")
    await offer(world)
    await offer(world, "n", "s")
    running = asyncio.create_task(client.chat.completions.create(model="m", **CHAT))
    await eventually(lambda: len(provider.seen) == 1, "the provider was called")
    waiting = asyncio.create_task(client.chat.completions.create(model="m", **CHAT))

    async def one_waits() -> bool:
        return (await budget(world, f"connection-{connection}")).waiting == 1

    await eventually(one_waits, "the second call waits for a place")
    waiting.cancel()

    async def none_waits() -> bool:
        return (await budget(world, f"connection-{connection}")).waiting == 0

    await eventually(none_waits, "it left the line")
    running.cancel()
    await idle(world, connection)
    async with client.chat.completions.with_streaming_response.create(model="n", stream=True, **CHAT) as answer:
        async for _ in answer.iter_bytes():
            break
    await eventually(streams.gone.is_set, "the provider's stream was closed")
    await idle(world, streaming)


async def test_what_cannot_start_in_time_is_told_when_it_can(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    await connect(world, provider.base_url)
    await offer(world, capacity=[{"period": "MINUTE", "requests": 1}])
    await client.chat.completions.create(model="m", **CHAT)
    started_s = time.monotonic()
    for wait in ("0", "30"):
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", extra_headers={"Brim-Max-Wait": wait}, **CHAT)
        headers, body = caught.value.response.headers, caught.value.response.json()
        wait_ms = int(headers["retry-after-ms"])
        assert 55_000 < wait_ms <= 61_000
        assert int(headers["retry-after"]) == -(-wait_ms // 1000)
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["error"]["code"] == "rate_limit_exceeded"
    assert time.monotonic() - started_s < 5
    assert len(provider.seen) == 1


async def test_a_limit_per_address_binds_direct_calls_too(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    await connect(world, provider.base_url)
    await offer(world)
    capacity = [{"period": "MINUTE", "requests": 1, "dimension": "source-ip"}]
    key = await world.made(world.at("api-key"), {"name": "public", "capacity": capacity})
    public = client.with_options(api_key=key["key"])
    await public.chat.completions.create(model="m", **CHAT)
    with pytest.raises(openai.RateLimitError):
        await public.chat.completions.create(model="m", extra_headers={"Brim-Max-Wait": "0"}, **CHAT)


async def test_a_call_waits_for_its_turn(world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI) -> None:
    provider.hold = asyncio.Event()
    await connect(world, provider.base_url, maxInFlight=1)
    await offer(world)
    calls = [asyncio.create_task(client.chat.completions.create(model="m", **CHAT)) for _ in range(5)]
    await eventually(lambda: len(provider.seen) == 1, "the first is there")
    provider.hold.set()
    async with asyncio.timeout(4):
        await asyncio.gather(*calls)
    assert len(provider.seen) == 5


async def test_a_provider_that_says_too_much_is_asked_again_when_it_said(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    connection = await connect(world, provider.base_url)
    await offer(world)
    replies = [refuse(429, "rate_limit_exceeded", "slow down", retry_after_ms="300"), provider.reply]
    provider.reply = lambda seen: replies[min(len(provider.seen), 2) - 1](seen)
    assert (await client.chat.completions.create(model="m", **CHAT)).choices[0].message.content == "yes"
    first, second = provider.seen
    assert second.at_s - first.at_s >= 0.29
    provider.reply = refuse(429, "rate_limit_exceeded", "slow down", retry_after_ms="7000")
    with pytest.raises(openai.RateLimitError) as caught:
        await client.chat.completions.create(model="m", extra_headers={"Brim-Max-Wait": "2"}, **CHAT)
    assert 6_500 <= int(caught.value.response.headers["retry-after-ms"]) <= 7_700
    await idle(world, connection)


async def test_a_fallback_serves_what_the_first_target_fails(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    await connect(world, "http://127.0.0.1:9/v1", "dead")
    await connect(world, provider.base_url)
    await offer(world, "m", "dead", "p")
    await client.chat.completions.create(model="m", **CHAT)
    assert provider.seen[0].body["model"] == "p-model"


async def test_refusals_are_those_of_the_provider_where_they_concern_the_request(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    connection = await connect(world, provider.base_url)
    await offer(world)
    provider.reply = refuse(400, "context_length_exceeded", "too long for me")
    with pytest.raises(openai.BadRequestError, match="too long for me"):
        await client.chat.completions.create(model="m", **CHAT)
    provider.reply = refuse(503, "overloaded", "not now")
    with pytest.raises(openai.InternalServerError, match="not now"):
        await client.chat.completions.create(model="m", **CHAT)
    await idle(world, connection)
    provider.reply = refuse(401, "invalid_api_key", "your key sk-of-the-provider is wrong")
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="m", **CHAT)
    assert caught.value.status_code == 503
    assert "sk-" not in caught.value.response.text
    await idle(world, connection)
    shown = (await world.admin.get(f"{world.at('ai-connection')}/{connection}")).json()
    assert [each["code"] for each in shown["parked"]] == ["PROVIDER_KEY_REFUSED"]


async def test_what_is_wrong_with_a_request_is_named(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    await connect(world, provider.base_url)
    await offer(world, "small", capacity=[{"period": "MINUTE", "tokens": 50}])
    await offer(world, "m")
    key = await world.made(world.at("api-key"), {"name": "narrow", "resources": ["m"], "maxInFlight": 3})
    narrow = client.with_options(api_key=key["key"])

    async def refused(
        status: int, param: str | None, code: str | None, path: str = "chat/completions", **body: Any
    ) -> None:
        answer = await world.client.post(f"/v1/{path}", content=json.dumps({**CHAT, **body}))
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert (error["param"], error["code"]) == (param, code), error

    await refused(400, "model", "missing_required_parameter")
    await refused(400, "model", "invalid_type", model=3)
    await refused(404, None, "model_not_found", model="nobody")
    await refused(400, "messages", "missing_required_parameter", model="m", messages=None)
    await refused(400, "messages[0].role", "invalid_value", model="m", messages=[{}])
    await refused(400, "stream", "invalid_type", model="m", stream="yes")
    await refused(400, "stream", "invalid_type", model="m", stream=1)
    await refused(400, "stream", "unsupported_parameter", "embeddings", model="m", input="a", stream=True)
    await refused(400, None, "request_too_large", model="small", max_tokens=60)
    bad = await world.client.post(
        "/v1/chat/completions", json={"model": "m", **CHAT}, headers={"Brim-Max-Wait": "soon"}
    )
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "Brim-Max-Wait")
    torn = await world.client.post("/v1/chat/completions", content=b'{"model": "m"')
    assert (torn.status_code, torn.json()["error"]["code"]) == (400, "invalid_json")
    with pytest.raises(openai.NotFoundError):
        await narrow.chat.completions.create(model="small", **CHAT)
    assert provider.seen == []
    await narrow.chat.completions.create(model="m", **CHAT)
    assert (await budget(world, f"key-{key['apiKeyId']}")).max_in_flight == 3


async def test_anthropic_answers_in_openais_form_also_as_a_stream(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    await connect(world, provider.base_url, provider="anthropic")
    await offer(world)
    provider.reply = lambda _seen: (
        200,
        {},
        {
            "id": "msg_1",
            "type": "message",
            "model": "claude",
            "content": [{"type": "text", "text": "Good day"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 5, "output_tokens": 2},
        },
    )
    stream = await client.chat.completions.create(
        model="m", stream=True, stream_options={"include_usage": True}, **CHAT
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Good day"
    assert chunks[1].choices[0].finish_reason == "stop"
    assert chunks[2].usage is not None
    assert chunks[2].usage.total_tokens == 7
    assert provider.seen[0].path == "/v1/messages"
