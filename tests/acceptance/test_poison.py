"""An item that kills its worker: it ends as a dead letter, and takes nobody with it."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import psutil
import pytest
from aiohttp import web

from bench.stack import single, stack
from tests.acceptance.conftest import WITHIN_S, all_items, items
from tests.processes import command_line, family

ITEMS = 1000
POISON = 500
LEASE_MS = 1000
AT_ONCE = 60


class KillingProvider:
    """Answers; when it sees the poisonous item, it kills the process that sent it. Nothing in that process helps."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.kills = 0
        self.deadly = True
        self.workers: Callable[[], Sequence[int]] = tuple

    async def handle(self, request: web.Request) -> web.Response:
        text = (await request.json())["messages"][0]["content"]
        self.calls[text] += 1
        if self.deadly and text == f"Say the number {POISON}.":
            assert request.transport is not None
            os.kill(self._owner_of(request.transport.get_extra_info("peername")[1]), signal.SIGKILL)
            self.kills += 1
            return web.Response(status=500)
        message = {"role": "assistant", "content": "yes"}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        return web.json_response({"choices": [{"index": 0, "message": message}], "usage": usage})

    def _owner_of(self, port: int) -> int:
        for pid in self.workers():
            if any(each.laddr[1:2] == (port,) for each in psutil.Process(pid).net_connections("tcp")):
                return pid
        raise AssertionError(f"no worker holds the connection from port {port}")


@asynccontextmanager
async def killing_provider() -> AsyncIterator[tuple[KillingProvider, str]]:
    provider = KillingProvider()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", provider.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield provider, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@pytest.mark.slow(25)
@pytest.mark.timeout(150)
async def test_one_item_that_kills_its_worker_dies_alone_among_a_thousand() -> None:
    async with killing_provider() as (provider, url):
        setup = single("openai-compatible", url, f"max_in_flight = {AT_ONCE}")
        settings = {"BRIM_LEASE_MS": str(LEASE_MS), "BRIM_RECONCILE_S": "1"}
        async with stack(setup, workers=2, settings=settings) as brim:
            provider.workers = lambda: [pid for pid in family(brim.pid) if "worker" in command_line(pid)]
            batch_id = await brim.post(items(ITEMS))
            batch = await brim.finished(batch_id, WITHIN_S)
            assert (batch["status"], batch["completed"], batch["failed"]) == ("FAILED", ITEMS - 1, 1)
            [dead] = [item for item in await all_items(brim, batch_id) if item["status"] == "FAILED"]
            assert (dead["customId"], dead["errorCode"]) == (f"item-{POISON}", "DEAD_LETTER")
            assert "died 5 times" in dead["errorMessage"]
            assert provider.kills == provider.calls[f"Say the number {POISON}."] == 5
            # Whoever was with it is called again at most twice: from then on it would have to be alone with it.
            assert max(count for text, count in provider.calls.items() if f" {POISON}." not in text) <= 3

            provider.deadly = False
            async with brim.session.post(f"{brim.base}/{batch_id}/retry") as answer:
                assert answer.status == 200
            batch = await brim.finished(batch_id, WITHIN_S)
            assert (batch["status"], batch["completed"], batch["failed"]) == ("COMPLETED", ITEMS, 0)
