"""The simulator over HTTP, each endpoint and each fault."""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from brim_server.simulator.options import Options
from brim_server.simulator.server import Running, running

CHAT = "/v1/chat/completions"


def chat(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "sim-model", "messages": [{"role": "user", "content": text}]} | more


@asynccontextmanager
async def simulator(**options: Any) -> AsyncIterator[tuple[Running, aiohttp.ClientSession]]:
    async with (
        running(Options(**({"latency_ms": 0.0} | options))) as server,
        aiohttp.ClientSession(server.origin) as session,
    ):
        yield server, session


async def get(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(path) as response:
        assert response.status == 200
        return await response.json()


async def post(session: aiohttp.ClientSession, path: str, body: Any) -> tuple[int, Any, Any]:
    """(status, headers, parsed body)."""
    async with session.post(path, json=body) as response:
        return response.status, response.headers, await response.json()


async def in_flight(session: aiohttp.ClientSession, count: int) -> None:
    """Ask until so many calls are in flight."""
    async with asyncio.timeout(5):
        while (await get(session, "/stats"))["in_flight"] != count:
            pass


async def test_chat_completions() -> None:
    async with simulator() as (_, session):
        status, _, body = await post(session, CHAT, chat(max_tokens=30))
    assert status == 200
    assert body["object"] == "chat.completion"
    assert body["model"] == "sim-model"
    assert body["choices"][0]["message"]["role"] == "assistant"
    usage = body["usage"]
    assert usage["prompt_tokens"] == 8
    assert usage["total_tokens"] == 8 + usage["completion_tokens"] <= 38


async def test_completions() -> None:
    async with simulator() as (_, session):
        status, _, body = await post(session, "/v1/completions", {"model": "m", "prompt": ["a", "b"], "n": 2})
    assert status == 200
    assert body["object"] == "text_completion"
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]


async def test_embeddings_as_numbers_and_as_base64() -> None:
    ask = {"model": "m", "input": ["a", "b", "a"], "dimensions": 4}
    async with simulator() as (_, session):
        _, _, numbers = await post(session, "/v1/embeddings", ask)
        _, _, packed = await post(session, "/v1/embeddings", ask | {"encoding_format": "base64"})
    first, second, third = (entry["embedding"] for entry in numbers["data"])
    assert first == third != second
    assert len(first) == 4
    unpacked = struct.unpack("<4f", base64.b64decode(packed["data"][0]["embedding"]))
    assert list(unpacked) == pytest.approx(first, abs=1e-6)


async def test_responses() -> None:
    async with simulator() as (_, session):
        status, _, body = await post(session, "/v1/responses", {"model": "m", "input": "hello there"})
    assert status == 200
    assert body["object"] == "response"
    assert body["output"][0]["content"][0]["type"] == "output_text"
    assert body["usage"]["total_tokens"] == body["usage"]["input_tokens"] + body["usage"]["output_tokens"]


async def test_models() -> None:
    async with simulator(models=("one", "two/b")) as (_, session):
        assert [model["id"] for model in (await get(session, "/v1/models"))["data"]] == ["one", "two/b"]
        assert (await get(session, "/v1/models/two%2Fb"))["id"] == "two/b"
        async with session.get("/v1/models/three") as response:
            assert response.status == 404


async def test_rate_headers_and_a_429() -> None:
    async with simulator(rpm=2, tpm=1000, shape="sliding") as (_, session):
        status, headers, _ = await post(session, CHAT, chat("a"))
        assert status == 200
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == "1"
        assert headers["x-ratelimit-limit-tokens"] == "1000"
        assert headers["x-ratelimit-remaining-tokens"] == "977"
        assert headers["x-ratelimit-reset-requests"] == "1m0s"
        await post(session, CHAT, chat("b"))
        status, headers, body = await post(session, CHAT, chat("c"))
    assert status == 429
    assert 58 <= int(headers["retry-after"]) <= 60
    assert 57_000 < int(headers["retry-after-ms"]) <= 60_000
    assert headers["x-ratelimit-remaining-requests"] == "0"
    error = body["error"]
    assert "on requests per min (RPM): Limit 2, Used 2, Requested 1. Please try again in " in error["message"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")


async def test_rate_headers_can_be_left_out() -> None:
    async with simulator(rpm=1, rate_headers=False, retry_after="none") as (_, session):
        for expected in (200, 429):
            status, headers, _ = await post(session, CHAT, chat())
            assert status == expected
            assert not [name for name in headers if name.lower().startswith(("x-ratelimit", "retry-after"))]


async def test_stats_calls_timeline_and_reset() -> None:
    async with simulator(rpm=2) as (_, session):
        for text in ("a", "a", "b"):
            await post(session, CHAT, chat(text))
        stats = await get(session, "/stats")
        assert (stats["requests"], stats["admitted"], stats["refused_429"]) == (3, 2, 1)
        assert stats["statuses"] == {"200": 2, "429": 1}
        assert stats["worst_minute"]["requests"] == 3
        assert stats["worst_minute_admitted"] == {"requests": 2, "tokens": 46}
        assert stats["tokens_charged"] == 46
        assert stats["duplicates"] == {"bodies": 1, "repeats": 1, "repeats_after_answer": 1, "is_full": False}
        assert stats["models"] == {"sim-model": 3}
        assert stats["connections"] == {"open": 1, "seen": 1}
        assert stats["limits"] == {"rpm": 2, "tpm": None, "shape": "bucket"}
        page = await get(session, "/calls?since=1")
        calls = [dict(zip(page["columns"], call, strict=True)) for call in page["calls"]]
        assert [(call["number"], call["status"], call["admitted"]) for call in calls] == [
            (2, 200, True),
            (3, 429, False),
        ]
        assert calls[0]["arrival_ms"] <= calls[1]["arrival_ms"]
        assert (await get(session, f"/calls?since={page['next']}"))["calls"] == []
        seconds = (await get(session, "/timeline"))["seconds"]
        assert sum(second[1] for second in seconds) == 2
        assert (await post(session, "/stats/reset", {}))[0] == 200
        assert (await get(session, "/stats"))["requests"] == 0


async def test_settings_change_while_it_runs() -> None:
    async with simulator(api_key="secret") as (_, session):
        session.headers["Authorization"] = "Bearer secret"
        assert (await post(session, CHAT, chat()))[0] == 200
        status, _, shown = await post(session, "/settings", {"error_rate": 1.0})
        assert (status, shown["error_rate"], shown["api_key"]) == (200, 1.0, None)
        assert (await post(session, CHAT, chat()))[0] == 500
        status, _, body = await post(session, "/settings", {"error_rate": 7})
        assert status == 400
        assert "error_rate" in body["error"]["message"]
        assert (await post(session, "/settings", {"speed": 7}))[0] == 400
        assert (await get(session, "/settings"))["error_rate"] == 1.0


async def test_a_missing_key_is_401_and_an_arrival() -> None:
    async with simulator(api_key="secret") as (server, session):
        status, _, body = await post(session, CHAT, chat())
        assert status == 401
        assert body["error"]["code"] == "invalid_api_key"
        assert server.provider.ledger.stats()["statuses"] == {"401": 1}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"model": "m"}, "messages"),
        (chat(n="two"), "n"),
        (chat(stream_options={"include_usage": True}), "stream_options"),
        (chat(brim_sim={"stauts": 500}), "stauts"),
        (chat(brim_sim={"status": 200}), "brim_sim.status"),
    ],
)
async def test_a_body_that_makes_no_sense_is_400(body: dict[str, Any], named: str) -> None:
    async with simulator() as (server, session):
        status, _, answer = await post(session, CHAT, body)
        assert status == 400
        assert named in answer["error"]["message"]
        assert server.provider.ledger.stats()["admitted"] == 0


async def test_a_body_that_is_not_json_is_400() -> None:
    async with simulator() as (_, session):
        for data in (b"{", b"\xff\xfe", b""):
            async with session.post(CHAT, data=data) as response:
                assert response.status == 400


async def test_unknown_paths_and_methods() -> None:
    async with simulator() as (_, session):
        assert (await post(session, "/v1/images", {}))[0] == 404
        async with session.get(CHAT) as response:
            assert response.status == 405
        async with session.delete("/stats") as response:
            assert response.status == 405
        async with session.get("/calls?since=x") as response:
            assert response.status == 400


async def test_a_query_does_not_change_the_endpoint() -> None:
    async with simulator() as (_, session):
        assert (await post(session, f"{CHAT}?api-version=1", chat()))[0] == 200


async def test_a_hung_call_ends_when_its_caller_goes() -> None:
    async with simulator(hang_rate=1.0) as (server, session):
        call = asyncio.create_task(post(session, CHAT, chat()))
        await in_flight(session, 1)
        call.cancel()
        await in_flight(session, 0)
        assert server.provider.ledger.stats()["statuses"] == {"abandoned": 1}


async def test_a_reset_connection() -> None:
    async with simulator() as (server, session):
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(session, CHAT, chat(brim_sim={"reset": True}))
        assert server.provider.ledger.stats()["statuses"] == {"reset": 1}


async def test_garbage_is_not_json() -> None:
    async with simulator(garbage_rate=1.0) as (_, session), session.post(CHAT, json=chat()) as response:
        assert response.status == 200
        assert (await response.read()).startswith(b"<html>")


async def test_odd_answers_are_json_with_text_that_stores_choke_on() -> None:
    async with simulator(odd_rate=1.0) as (_, session):
        async with session.post(CHAT, json=chat()) as response:
            raw = await response.read()
        assert response.status == 200
        content = json.loads(raw)["choices"][0]["message"]["content"]
        assert content.startswith('\0 \ud800 \udfff \uffff \\ " \u2028')
        page = await get(session, "/calls")
        assert [dict(zip(page["columns"], call, strict=True))["fault"] for call in page["calls"]] == ["odd"]


async def test_stopping_cuts_hung_calls() -> None:
    async with aiohttp.ClientSession() as caller:
        async with simulator(hang_rate=1.0) as (server, session):
            call = asyncio.create_task(post(caller, server.origin + CHAT, chat()))
            await in_flight(session, 1)
        async with asyncio.timeout(5):
            with pytest.raises(aiohttp.ClientConnectionError):
                await call
