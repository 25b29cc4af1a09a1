"""Workers that die while a batch of OpenAI's form is checked, stored, run and written: each line once, none torn."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import Any, Final

import asyncpg
import pytest
from openai import AsyncOpenAI

from bench.stack import KEY, Stack, simulator, single, stack
from tests.acceptance.conftest import WITHIN_S
from tests.polling import eventually
from tests.processes import command_line, family

LEASE = {"BRIM_LEASE_MS": "2000"}
CHAT: Final = "/v1/chat/completions"
COUNT = 3_000
FINAL = ("completed", "failed", "cancelled", "expired")


def line(number: int) -> bytes:
    """A line; long enough for a file of them to be looked at for a moment. One in a hundred is refused."""
    text = f"Say {number}. " + "and so on " * 200
    body: dict[str, Any] = {"model": "model", "messages": [{"role": "user", "content": text}], "max_tokens": 4}
    if number % 100 == 0:
        body["brim_sim"] = {"status": 400}
    given = {"custom_id": f"c{number}", "method": "POST", "url": CHAT, "body": body}
    return json.dumps(given).encode()


def kill_workers(brim: Stack) -> list[int]:
    """Kill all of them; `up` starts others."""
    victims = [child for child in family(brim.pid) if "worker" in command_line(child)]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    return victims


async def rows(brim: Stack, statement: str) -> list[dict[str, Any]]:
    """Look behind the API."""
    connection = await asyncpg.connect(brim.database_url)
    try:
        return [dict(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


@pytest.mark.slow(20)
@pytest.mark.timeout(180)
async def test_workers_killed_in_every_phase_leave_each_line_once() -> None:
    lines = [line(number) for number in range(COUNT)]
    async with (
        simulator("--latency-ms", "400") as origin,
        stack(single("openai-compatible", f"{origin}/v1"), workers=2, settings=LEASE) as brim,
        AsyncOpenAI(base_url=f"{brim.base.partition('/v1/')[0]}/v1", api_key=KEY, timeout=60) as client,
    ):

        async def submit(content: bytes) -> str:
            file = await client.files.create(file=("in.jsonl", content), purpose="batch")
            batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
            return batch.id

        async def asked(condition: str) -> bool:
            found = await rows(brim, f"SELECT count(*) AS n FROM submissions WHERE {condition}")
            return bool(found[0]["n"])

        good = await submit(b"\n".join(lines))
        bad = await submit(b"\n".join([*lines, b"{torn"]))
        # While one is stored, and the other is about to be found bad.
        await eventually(lambda: asked("stored > 0 AND in_progress_at IS NULL"), "some is stored", WITHIN_S)
        assert len(kill_workers(brim)) == 2
        # While results are written.
        await eventually(lambda: asked("output_lines BETWEEN 1 AND 1500"), "some is written", WITHIN_S)
        assert kill_workers(brim)
        await eventually(lambda: asked("output_lines > 1800 AND ended_at IS NULL"), "more is written", WITHIN_S)
        assert kill_workers(brim)

        async def ended(batch_id: str) -> Any:
            batch = await client.batches.retrieve(batch_id)
            return batch if batch.status in FINAL else None

        refused = await eventually(lambda: ended(bad), "the bad one ends", WITHIN_S)
        assert refused.status == "failed"
        assert [(each.line, each.code) for each in refused.errors.data] == [(COUNT + 1, "invalid_json_line")]
        batch = await eventually(lambda: ended(good), "the good one ends", WITHIN_S)
        assert batch.status == "completed"
        refusals = COUNT // 100
        assert batch.request_counts.model_dump() == {
            "total": COUNT,
            "completed": COUNT - refusals,
            "failed": refusals,
        }
        seen: Counter[str] = Counter()
        used: Counter[str] = Counter()
        for file_id in (batch.output_file_id, batch.error_file_id):
            content = (await client.files.content(file_id)).content
            assert content.endswith(b"\n")
            for text in content.splitlines():
                result = json.loads(text)
                seen[result["custom_id"]] += 1
                if file_id == batch.output_file_id:
                    used.update({k: v for k, v in result["response"]["body"]["usage"].items() if isinstance(v, int)})
        assert set(seen) == {f"c{number}" for number in range(COUNT)}
        assert set(seen.values()) == {1}
        assert batch.usage.input_tokens == used["prompt_tokens"]
        assert batch.usage.output_tokens == used["completion_tokens"]
        left = await rows(brim, "SELECT count(*) AS n FROM items")
        assert left[0]["n"] == COUNT
