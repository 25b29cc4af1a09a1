"""Direct calls over the official `openai` package, through to the simulated provider and back."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI

from brim_server.simulator.options import Options
from brim_server.simulator.server import running
from tests.api.world import ApiWorld

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Tell me"}], "max_tokens": 30}


async def test_a_streamed_call_gives_the_text_and_usage_of_the_unstreamed_one(world: ApiWorld) -> None:
    async with (
        running(Options(latency_ms=20)) as simulator,
        AsyncOpenAI(base_url=f"{world.url}/v1", api_key=world.key, max_retries=0) as client,
    ):
        config = {"baseUrl": simulator.base_url, "apiKey": "k"}
        await world.made(world.at("ai-connection"), {"name": "p", "provider": "openai-compatible", "config": config})
        model = {"connectionName": "p", "model": "sim-model"}
        await world.made(world.at("ai-resource"), {"name": "m", "model": model})
        whole = await client.chat.completions.create(**ASK)
        stream = await client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
        *chunks, last = [chunk async for chunk in stream]
        verdict = await client.moderations.create(model="m", input="violence")
        stats = simulator.provider.ledger.stats()
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content != ""
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert last.usage == whole.usage
    assert verdict.results[0].flagged
    assert (stats["statuses"], stats["in_flight"]) == ({"200": 3}, 0)
