"""How long a large POST makes everybody else wait: GETs on another connection while it is read, checked and stored."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass

from bench.stack import Stack, single, stack

ITEMS = 100_000
WORDS = "word and other things " * 40
AFTER_S = 2.0
"""What follows the answer, such as the memory's return, counts too."""

_ASKER = """
import http.client, sys, time
host, port, path = sys.argv[1:4]
connection = http.client.HTTPConnection(host, int(port), timeout=60)
print("ready", flush=True)
while True:
    started = time.perf_counter()
    connection.request("GET", path)
    connection.getresponse().read()
    print((time.perf_counter() - started) * 1000, flush=True)
    time.sleep(0.005)
"""


@dataclass(frozen=True, slots=True)
class Lag:
    """get_ms: of a GET /health/live every 5 ms, from before the POST to AFTER_S after its answer."""

    body_mb: float
    post_s: float
    get_median_ms: float
    get_p99_ms: float
    get_worst_ms: float


async def lag() -> Lag:
    """Run it. The asker is a process of its own: here it would wait for our own sending."""
    async with stack(single("noop", "http://127.0.0.1:9"), settings={"BRIM_ALLOW_NOOP": "true"}) as brim:
        body = json.dumps({"type": "ASYNC", "items": [_item(number) for number in range(ITEMS)]}).encode()
        host, _, port = brim.base.removeprefix("http://").partition("/")[0].partition(":")
        asker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _ASKER, host, port, "/health/live"), stdout=asyncio.subprocess.PIPE
        )
        try:
            assert asker.stdout is not None
            await asker.stdout.readline()
            started = time.perf_counter()
            await _post(brim, body)
            post_s = time.perf_counter() - started
            await asyncio.sleep(AFTER_S)
        finally:
            asker.terminate()
        told, _ = await asker.communicate()
    took_ms = sorted(float(line) for line in told.splitlines())
    return Lag(
        len(body) / 1_000_000,
        post_s,
        took_ms[len(took_ms) // 2],
        took_ms[len(took_ms) * 99 // 100],
        took_ms[-1],
    )


def _item(number: int) -> dict[str, object]:
    request = {"messages": [{"role": "user", "content": f"{number} {WORDS}"}], "max_tokens": 16}
    return {"resourceId": "model", "request": request}


async def _post(brim: Stack, body: bytes) -> None:
    async with brim.session.post(brim.base, data=body, headers={"Content-Type": "application/json"}) as answer:
        answer.raise_for_status()
        await answer.read()
