"""Answers as events and moderations, as the official `openai` package reads them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from brim_server.simulator.options import Options
from brim_server.simulator.server import Running, running
from tests.polling import eventually

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Tell me more"}], "max_tokens": 40}


@asynccontextmanager
async def simulator(**options: Any) -> AsyncIterator[tuple[Running, AsyncOpenAI]]:
    async with (
        running(Options(**({"latency_ms": 0.0} | options))) as server,
        AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client,
    ):
        yield server, client


@pytest.mark.parametrize("more", [{}, {"n": 3}, {"extra_body": {"brim_sim": {"completion_tokens": 0}}}])
async def test_a_streamed_chat_is_the_unstreamed_one_in_pieces(more: dict[str, Any]) -> None:
    async with simulator() as (_, client):
        whole = await client.chat.completions.create(**ASK, **more)
        stream = await client.chat.completions.create(
            **ASK, **more, stream=True, stream_options={"include_usage": True}
        )
        *chunks, last = [chunk async for chunk in stream]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {(chunk.id, chunk.model) for chunk in chunks} == {(whole.id, whole.model)}
    for choice in whole.choices:
        parts = [each for chunk in chunks for each in chunk.choices if each.index == choice.index]
        assert [part.delta.role for part in parts if part.delta.role] == ["assistant"]
        assert "".join(part.delta.content or "" for part in parts) == choice.message.content
        assert [part.finish_reason for part in parts if part.finish_reason] == [choice.finish_reason]
        assert len(parts) == 2 + len((choice.message.content or "").split())
    assert all(chunk.usage is None for chunk in chunks)
    assert (last.choices, last.usage) == ([], whole.usage)


async def test_a_streamed_completion_is_the_unstreamed_one_in_pieces() -> None:
    ask: dict[str, Any] = {"model": "m", "prompt": ["a", "b"], "max_tokens": 2000}
    long = {"brim_sim": {"completion_tokens": 1000}}
    async with simulator() as (_, client):
        whole = await client.completions.create(**ask, extra_body=long)
        stream = await client.completions.create(**ask, extra_body=long, stream=True)
        chunks = [chunk async for chunk in stream]
    for choice in whole.choices:
        parts = [each for chunk in chunks for each in chunk.choices if each.index == choice.index]
        assert "".join(part.text for part in parts) == choice.text
        assert parts[-1].finish_reason == choice.finish_reason == "stop"
        assert len(choice.text.split()) == 1000
    assert len(chunks) < 600  # long texts come in pieces of several words
    assert all(chunk.usage is None for chunk in chunks)  # nobody asked for it


async def test_a_stream_field_of_false_changes_nothing_of_the_text() -> None:
    forms = [json.dumps(ASK), json.dumps({"stream": False, **ASK})]
    async with running(Options(latency_ms=0)) as server, aiohttp.ClientSession(server.origin) as session:
        texts = []
        for form in forms:
            async with session.post("/v1/chat/completions", data=form) as answer:
                texts.append((await answer.json())["choices"])
    assert texts[0] == texts[1]


async def test_streams_come_in_chunks_on_a_connection_that_goes_on() -> None:
    async with running(Options(latency_ms=0)) as server, aiohttp.ClientSession(server.origin) as session:
        for _ in range(2):
            async with session.post("/v1/chat/completions", json={**ASK, "stream": True}) as answer:
                assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
                assert answer.headers["transfer-encoding"] == "chunked"
                assert (await answer.read()).endswith(b"\n\ndata: [DONE]\n\n")
        close = {"Connection": "close"}
        async with session.post("/v1/chat/completions", json={**ASK, "stream": True}, headers=close) as answer:
            assert "transfer-encoding" not in answer.headers
            assert (await answer.read()).endswith(b"\n\ndata: [DONE]\n\n")
        async with session.get("/stats") as answer:
            stats = await answer.json()
    assert (stats["connections"]["seen"], stats["statuses"]) == (2, {"200": 3})


async def test_the_first_byte_comes_after_the_latency() -> None:
    async with simulator(latency_ms=120) as (_, client):
        began_s = asyncio.get_running_loop().time()
        stream = await client.chat.completions.create(**ASK, stream=True)
        assert asyncio.get_running_loop().time() - began_s >= 0.115
        assert [chunk async for chunk in stream]


async def test_streams_are_limited_and_fail_like_any_call() -> None:
    async with simulator(rpm=1) as (_, client):
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(**ASK, stream=True, extra_body={"brim_sim": {"status": 500}})
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(**ASK, stream=True)
        assert caught.value.code == "rate_limit_exceeded"
    async with simulator(odd_rate=1) as (_, client):
        stream = await client.chat.completions.create(**ASK, stream=True)
        assert "\x00" in ((await anext(stream)).choices[0].delta.content or "")
    async with simulator() as (_, client):
        with pytest.raises(openai.BadRequestError, match="stream"):
            await client.responses.create(model="m", input="a", stream=True)


async def test_who_hangs_up_before_or_during_a_stream_leaves_nothing_behind() -> None:
    async with simulator(latency_ms=50_000) as (server, client):
        waiting = asyncio.create_task(client.chat.completions.create(**ASK, stream=True))
        await eventually(lambda: server.provider.ledger.in_flight == 1, "the call is there")
        waiting.cancel()
        await eventually(lambda: server.provider.ledger.in_flight == 0, "it was noticed")
        assert server.provider.ledger.stats()["statuses"] == {"abandoned": 1}
    large = {"n": 128, "max_tokens": 9000, "extra_body": {"brim_sim": {"completion_tokens": 5000}}}
    async with simulator() as (server, client):
        stream = await client.chat.completions.create(**(ASK | large), stream=True)
        await anext(stream)
        await stream.close()
        assert [chunk async for chunk in await client.chat.completions.create(**ASK, stream=True)]
        assert server.provider.ledger.in_flight == 0


async def test_moderations_flag_what_names_a_category() -> None:
    async with simulator(rpm=4) as (server, client):
        first = await client.moderations.create(model="m", input=["good day", "Violence and self-harm/intent"])
        again = await client.moderations.create(model="m", input=["good day", "Violence and self-harm/intent"])
        picture: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
        parts = await client.moderations.create(input=[{"type": "text", "text": "hate"}, picture])
        assert first == again
        assert first.id.startswith("modr-")
        calm, rough = first.results
        assert not calm.flagged
        assert max(calm.category_scores.model_dump().values()) < 0.01
        assert rough.flagged
        flagged = {name for name, is_flagged in rough.categories.to_dict().items() if is_flagged}
        assert flagged == {"violence", "self-harm", "self-harm/intent"}
        assert rough.category_scores.violence >= 0.99
        assert [result.categories.hate for result in parts.results] == [True]
        assert parts.model == "omni-moderation-latest"
        assert server.provider.ledger.stats()["tokens_charged"] == 9 + 9 + 1
        wrongs: Any = ([], ["a", {"type": "text", "text": "b"}], [{"type": "sound"}], [{"type": "text"}])
        for wrong in wrongs:
            with pytest.raises(openai.BadRequestError, match="input"):
                await client.moderations.create(input=wrong)
        await client.moderations.create(input="a")
        with pytest.raises(openai.RateLimitError):
            await client.moderations.create(input="a")
