"""What direct calls teach, and what their callers are told of a provider that cannot be used."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import openai
import pytest
from openai import AsyncOpenAI

from scheduler.services.budgets.limits import model_budget_id
from tests.api.test_direct_calls import CHAT, Streams, budget, client, connect, offer, provider, streams
from tests.api.world import ApiWorld
from tests.polling import eventually
from tests.workers.provider import FakeProvider, answer, refuse

__all__ = ["client", "provider", "streams"]

DAILY = (
    "Rate limit reached for p-model in organization org-1 on requests per day (RPD): Limit 200, Used 200, Requested 1. "
    "Please try again in 7m12s."
)


async def refused(client: AsyncOpenAI, model: str = "m", wait_s: str = "1") -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(model=model, extra_headers={"Brim-Max-Wait": wait_s}, **CHAT)
    return caught.value


def wait_s_of(error: openai.APIStatusError) -> float:
    return int(error.response.headers["retry-after-ms"]) / 1000


async def test_a_connection_without_credit_is_no_rate_limit(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    await connect(world, provider.base_url)
    await offer(world)
    provider.reply = refuse(429, "insufficient_quota", "Organization org-1 exceeded its quota.")
    for _ in range(3):
        error = await refused(client)
        assert (error.status_code, error.code, error.type) == (429, "insufficient_quota", "insufficient_quota")
        assert 3_500 < wait_s_of(error) <= 3_600
        assert error.response.headers["x-should-retry"] == "false"
        assert "org-1" not in error.response.text
    assert len(provider.seen) == 1


async def test_a_refused_key_is_no_rate_limit(world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI) -> None:
    await connect(world, provider.base_url)
    await offer(world)
    provider.reply = refuse(401, "invalid_api_key", "no")
    for _ in range(2):
        error = await refused(client)
        assert (error.status_code, error.code) == (503, "provider_key_refused")
        assert wait_s_of(error) > 3_500
    assert len(provider.seen) == 1


async def test_a_provider_that_cannot_be_reached_is_no_rate_limit(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    connection = await connect(world, provider.base_url)
    await offer(world)
    await client.chat.completions.create(model="m", **CHAT)
    # What a worker does when twenty calls in a row were not answered.
    await world.core.engine.pause_budget(await world.shard(), f"connection-{connection}", 30_000, "no route")
    error = await refused(client)
    assert (error.status_code, error.code) == (503, "provider_unavailable")
    assert 25 < wait_s_of(error) <= 30
    assert "x-should-retry" not in error.response.headers


async def test_a_fallback_serves_while_the_first_target_is_shut(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    first = await connect(world, provider.base_url, "first")
    await connect(world, provider.base_url, "second")
    await offer(world, "m", "first", "second")
    await client.chat.completions.create(model="m", **CHAT)
    await world.core.engine.pause_budget(await world.shard(), f"connection-{first}", 30_000, "no route")
    await client.chat.completions.create(model="m", **CHAT)
    assert [seen.body["model"] for seen in provider.seen] == ["first-model", "second-model"]


async def test_of_several_targets_the_one_that_is_free_first_says_why(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    first = await connect(world, provider.base_url, "first")
    await connect(world, provider.base_url, "second", capacity=[{"period": "MINUTE", "requests": 1}])
    await offer(world, "m", "first", "second")
    await client.chat.completions.create(model="m", **CHAT)
    await world.core.engine.pause_budget(await world.shard(), f"connection-{first}", 300_000, "no route")
    await client.chat.completions.create(model="m", **CHAT)
    error = await refused(client)
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert wait_s_of(error) <= 62


@pytest.mark.parametrize("status", [503, 500])
async def test_when_the_provider_wants_to_be_asked_again_is_passed_on(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI, status: int
) -> None:
    await connect(world, provider.base_url)
    await offer(world)
    provider.reply = refuse(status, "overloaded", "Too busy.", retry_after="7")
    error = await refused(client)
    assert error.status_code == (503 if status == 503 else 502)
    assert (error.response.headers["retry-after"], wait_s_of(error)) == ("7", 7)
    provider.reply = refuse(status, "overloaded", "Too busy.")
    assert "retry-after" not in (await refused(client)).response.headers


async def test_a_limit_of_a_day_stops_its_model_only(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    await connect(world, provider.base_url)
    await offer(world)
    await offer(world, "other", model={"connectionName": "p", "model": "another"})
    daily = refuse(429, "rate_limit_exceeded", DAILY)
    provider.reply = lambda seen: (daily if seen.body["model"] == "p-model" else answer)(seen)
    for _ in range(2):
        error = await refused(client)
        assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
        assert 420 < wait_s_of(error) <= 434
        assert "Rate limit of its model" in error.message
        assert (await client.chat.completions.create(model="other", **CHAT)).choices[0].message.content == "yes"
    assert [seen.body["model"] for seen in provider.seen] == ["p-model", "another", "another"]


def with_limits(body: Any, **limits: str) -> tuple[int, dict[str, str], Any]:
    """An answer whose headers tell limits."""
    named = {f"x-ratelimit-{name.replace('_', '-')}": value for name, value in limits.items()}
    return 200, {**named, "content-type": "application/json"}, json.dumps(body).encode()


async def test_limits_that_answers_tell_of_are_learned(
    world: ApiWorld, provider: FakeProvider, client: AsyncOpenAI
) -> None:
    connection = await connect(world, provider.base_url, capacity=[{"period": "MINUTE", "requests": 1000}])
    await offer(world)
    found = {"limit_requests": "50", "remaining_requests": "49", "reset_requests": "1.2s"}
    provider.reply = lambda seen: with_limits(answer(seen)[2], **found)
    await client.chat.completions.create(model="m", **CHAT)

    async def is_kept() -> bool:
        shown = (await world.admin.get(f"{world.at('ai-connection')}/{connection}")).json()
        return [(each["period"], each["requests"]) for each in shown["discoveredCapacity"] or []] == [("MINUTE", 50)]

    await eventually(is_kept, "what was learned is kept")
    shown = (await world.admin.get(f"{world.at('ai-connection')}/{connection}/headroom")).json()
    [model] = shown["models"]
    assert model["budget"]["limits"][0]["requests"]["limit"] == 50


async def test_a_stream_tells_of_limits_when_it_begins(world: ApiWorld, streams: Streams) -> None:
    connection = await connect(world, streams.base_url, capacity=[{"period": "MINUTE", "requests": 1000}])
    await offer(world)
    streams.headers = {"x-ratelimit-limit-requests": "40", "x-ratelimit-remaining-requests": "39"}
    streams.hold = asyncio.Event()
    body = {"model": "m", "stream": True, **CHAT}
    budget_id = model_budget_id(UUID(connection), "p-model")
    async with world.client.stream("POST", "/v1/chat/completions", json=body) as received:

        async def is_learned() -> bool:
            shard = await world.shard()
            return budget_id in await world.core.engine.headroom(shard, [budget_id])

        await eventually(is_learned, "the limit is known while the stream runs")
        streams.hold.set()
        await received.aread()
    assert [each.requests_limit for each in (await budget(world, budget_id)).limits] == [40]
