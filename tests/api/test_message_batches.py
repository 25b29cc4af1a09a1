"""Message batches over the official `anthropic` package, through workers and providers and back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from tests.api.world import ApiWorld
from tests.polling import eventually
from tests.workers.provider import FakeProvider, Seen, refuse, running_provider
from workers.worker import Worker


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider that answers at once."""
    async with running_provider() as provider:
        yield provider


@pytest.fixture
async def client(world: ApiWorld) -> AsyncIterator[AsyncAnthropic]:
    """The official client, with the tenant's key, that never tries again by itself."""
    async with AsyncAnthropic(base_url=world.url, api_key=world.key, max_retries=0) as client:
        yield client


@asynccontextmanager
async def working(world: ApiWorld) -> AsyncIterator[None]:
    core = world.core
    worker = Worker(core.settings, core.store, core.engine, core.engine.bell, core.recovery, core.vault, core.files)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def offer(world: ApiWorld, server: FakeProvider, name: str, **more: Any) -> None:
    config = {"baseUrl": server.base_url, "apiKey": "sk-of-the-provider"}
    connection = {"name": f"of-{name}", "provider": "openai-compatible", "config": config, **more}
    await world.made(world.at("ai-connection"), connection)
    model = {"connectionName": f"of-{name}", "model": f"{name}-model"}
    await world.made(world.at("ai-resource"), {"name": name, "model": model, "maxRetries": 0})


def wanted(number: int, model: str = "m", **more: Any) -> Any:
    messages = [{"role": "user", "content": f"Say {number}"}]
    return {"custom_id": f"c{number}", "params": {"model": model, "max_tokens": 9, "messages": messages, **more}}


async def ended(client: AsyncAnthropic, batch_id: str) -> Any:
    async def has_ended() -> bool:
        return (await client.messages.batches.retrieve(batch_id)).processing_status == "ended"

    await eventually(has_ended, "the batch has ended", within_s=20)
    return await client.messages.batches.retrieve(batch_id)


async def results(client: AsyncAnthropic, batch_id: str) -> dict[str, Any]:
    return {each.custom_id: each.result async for each in await client.messages.batches.results(batch_id)}


async def test_a_batch_runs_on_any_provider_and_answers_in_anthropics_form(
    world: ApiWorld, provider: FakeProvider, client: AsyncAnthropic
) -> None:
    await offer(world, provider, "m")
    good = provider.reply

    def reply(seen: Seen) -> tuple[int, dict[str, str], Any]:
        return refuse(400, "invalid_value", "no such thing")(seen) if seen.text == "Say 3" else good(seen)

    provider.reply = reply
    async with working(world):
        made = await client.messages.batches.create(
            requests=[wanted(1, system="Be brief.", stop_sequences=["x"]), wanted(2), wanted(3)]
        )
        assert made.id.startswith("msgbatch_")
        assert (made.processing_status, made.request_counts.processing, made.results_url) == ("in_progress", 3, None)
        done = await ended(client, made.id)
    assert done.request_counts.model_dump() == {
        "processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0,
    }  # fmt: skip
    assert done.ended_at is not None
    assert done.ended_at >= done.created_at
    found = await results(client, made.id)
    assert found.keys() == {"c1", "c2", "c3"}
    message = found["c1"].message
    assert (message.role, message.content[0].text, message.stop_reason) == ("assistant", "yes", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 2)
    assert found["c3"].type == "errored"
    assert found["c3"].error.error.type == "invalid_request_error"
    assert found["c3"].error.error.message == "no such thing"
    first = next(seen for seen in provider.seen if seen.body["messages"][-1]["content"] == "Say 1")
    assert first.body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (first.body["stop"], first.body["max_tokens"], first.body["model"]) == (["x"], 9, "m-model")


async def test_what_goes_to_anthropic_itself_comes_there_as_it_was(
    world: ApiWorld, provider: FakeProvider, client: AsyncAnthropic
) -> None:
    await offer(world, provider, "m", provider="anthropic")
    tool = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a cat"}]},
    ]
    answer = {
        "id": "msg_7",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "tool_use", "id": "t2", "name": "look", "input": {"at": 2}}],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 4},
    }
    provider.reply = lambda _seen: (200, {}, answer)
    request = wanted(1, tools=[tool], tool_choice={"type": "any"}, top_k=5, messages=messages)
    async with working(world):
        made = await client.messages.batches.create(requests=[request])
        await ended(client, made.id)
    (seen,) = provider.seen
    assert seen.path == "/v1/messages"
    told = [part for message in seen.body["messages"] for part in message["content"]]
    assert told[0] == messages[0]["content"][0]
    assert told[1] == {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}
    assert told[2]["tool_use_id"] == "t1"
    assert (seen.body["top_k"], seen.body["tool_choice"]["type"]) == (5, "any")
    assert seen.body["tools"][0]["input_schema"] == tool["input_schema"]
    message = (await results(client, made.id))["c1"].message
    assert (message.id, message.stop_reason, message.content[0].input) == ("msg_7", "tool_use", {"at": 2})
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (5, 4)


async def test_a_cancelled_batch_keeps_what_was_finished(
    world: ApiWorld, provider: FakeProvider, client: AsyncAnthropic
) -> None:
    await offer(world, provider, "m", capacity=[{"period": "DAY", "requests": 2}])
    async with working(world):
        made = await client.messages.batches.create(requests=[wanted(number) for number in range(1, 9)])

        async def two_done() -> bool:
            return (await client.messages.batches.retrieve(made.id)).request_counts.succeeded == 2

        await eventually(two_done, "two have been served", within_s=20)
        with pytest.raises(anthropic.AnthropicError):
            await client.messages.batches.results(made.id)
        early = await world.client.get(f"/v1/messages/batches/{made.id}/results")
        assert (early.status_code, early.json()["error"]["type"]) == (400, "invalid_request_error")
        cancelled = await client.messages.batches.cancel(made.id)
        assert cancelled.processing_status in ("canceling", "ended")
        assert cancelled.cancel_initiated_at is not None
        done = await ended(client, made.id)
    assert (done.request_counts.succeeded, done.request_counts.canceled) == (2, 6)
    kinds = sorted(each.type for each in (await results(client, made.id)).values())
    assert kinds == ["canceled"] * 6 + ["succeeded"] * 2


async def test_a_batch_that_cannot_run_tells_so_for_each_request(
    world: ApiWorld, provider: FakeProvider, client: AsyncAnthropic
) -> None:
    await offer(world, provider, "m", capacity=[{"period": "MINUTE", "tokens": 40}])
    async with working(world):
        made = await client.messages.batches.create(requests=[wanted(1), wanted(2, max_tokens=900)])
        done = await ended(client, made.id)
    assert done.request_counts.errored == 2
    found = await results(client, made.id)
    assert "more than the 40" in found["c2"].error.error.message
    assert "none of it ran" in found["c1"].error.error.message
    assert provider.seen == []


async def test_batches_are_listed_newest_first_in_both_directions(
    world: ApiWorld, provider: FakeProvider, client: AsyncAnthropic
) -> None:
    await offer(world, provider, "m")
    made = [(await client.messages.batches.create(requests=[wanted(1)])).id for _ in range(7)]
    newest_first = list(reversed(made))
    assert [each.id async for each in client.messages.batches.list(limit=3)] == newest_first
    page = await client.messages.batches.list(limit=2, before_id=newest_first[5])
    assert [each.id for each in page.data] == newest_first[3:5]
    assert page.has_more
    last = await client.messages.batches.list(limit=20, before_id=newest_first[2])
    assert ([each.id for each in last.data], last.has_more) == (newest_first[:2], False)


async def test_what_is_wrong_with_a_request_is_named_and_nothing_is_stored(
    world: ApiWorld, provider: FakeProvider, client: AsyncAnthropic
) -> None:
    await offer(world, provider, "m")

    async def refused(kind: type[anthropic.APIStatusError], message: str, *requests: Any) -> None:
        with pytest.raises(kind) as caught:
            await client.messages.batches.create(requests=requests)
        body = json.loads(caught.value.response.content)
        assert body["type"] == "error"
        assert message in body["error"]["message"]

    bad = anthropic.BadRequestError
    await refused(bad, "requests: must be")
    await refused(bad, "requests.1.custom_id: must be unique", wanted(1), wanted(1))
    await refused(bad, "requests.0.custom_id: must be 1 to 64", {**wanted(1), "custom_id": "a b"})
    await refused(bad, "requests.0.params.max_tokens: Field required", {**wanted(1), "params": {"model": "m"}})
    await refused(bad, "requests.0.params.messages.0.role", wanted(1, messages=[{"role": "cook", "content": "x"}]))
    await refused(bad, "requests.0.params.stream", wanted(1, stream=True))
    await refused(bad, "requests.0.params.tools.0.type", wanted(1, tools=[{"type": "web_search_1", "name": "w"}]))
    await refused(anthropic.NotFoundError, "requests.0.params.model", wanted(1, model="nobody"))
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.batches.retrieve("msgbatch_" + "0" * 32)
    with pytest.raises(anthropic.AuthenticationError):
        await client.with_options(api_key="wrong").messages.batches.list()
    assert (await client.messages.batches.list()).data == []
    files = await world.client.get("/v1/files")
    assert files.json()["data"] == []
