"""Workers that are stopped for three leases and wake up again: what they hold then must not be recorded.

Each round stops all workers but one, each with calls in flight, and lets them go on after three leases. Meanwhile the
items of the first batch run again on the worker that is left; those of the second fail there, are run once more by a
`retry`, and are under way in their second run when the stopped ones wake up. The provider numbers the calls of each
item, so what is recorded tells whose answer it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
from aiohttp import web

from bench.stack import Stack, single, stack
from tests.chaos.clients import request_of
from tests.polling import eventually
from tests.processes import command_line, family

LEASE_S = 1.0
STOPPED_FOR_S = 3 * LEASE_S
WORKERS = 6
SLOTS = 60
"""Of each worker: the one that is left takes over what all held. Little is claimed at a time, so all get some."""
ITEMS = 30
UNDER_WAY = 54
"""Calls in flight when workers are stopped, of 2 × ITEMS."""
FIRST_CALL_S = 1.0
FAILING_S = 0.05
SECOND_RUN_S = 1.5
SECOND_CALL_S = 3.0
"""So second calls are in flight when the holders of the first wake up."""
WITHIN_S = 40.0


@dataclass
class NumberingProvider:
    """Answers with the number of the call among those of its item. Items named "retried" fail at their second call."""

    base_url: str = ""
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    in_flight: dict[str, int] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any POST."""
        text = (await request.json())["messages"][0]["content"]
        self.calls[text] += 1
        number = self.calls[text]
        peer = request.transport.get_extra_info("peername") if request.transport else ("", 0)
        self.in_flight[text] = peer[1]
        await asyncio.sleep(_latency_s(number, is_failing=number == 2 and "retried" in text))
        if self.in_flight.get(text) == peer[1]:
            del self.in_flight[text]
        if number == 2 and "retried" in text:
            return web.json_response({"error": {"message": "no", "type": "invalid_request_error"}}, status=400)
        message = {"role": "assistant", "content": str(number)}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return web.json_response({"choices": [{"index": 0, "message": message}], "usage": usage})


def _latency_s(number: int, *, is_failing: bool) -> float:
    match number:
        case 1:
            return FIRST_CALL_S
        case 2:
            return FAILING_S if is_failing else SECOND_CALL_S
        case _:
            return SECOND_RUN_S


@asynccontextmanager
async def _numbering() -> AsyncIterator[NumberingProvider]:
    provider = NumberingProvider()
    application = web.Application()
    application.router.add_post("/{path:.*}", provider.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    provider.base_url = f"http://{host}:{port}/v1"
    try:
        yield provider
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class Stopped:
    """trials: workers that were stopped with calls in flight. run_again / run_after_retry: items whose first call was
    a stopped worker's, and that were leased again before it woke up. violations: recorded answers of such calls."""

    trials: int = 0
    run_again: int = 0
    run_after_retry: int = 0
    violations: list[str] = field(default_factory=list)


async def trials(wanted: int) -> Stopped:
    """Stop and wake workers until so many trials were made."""
    total = Stopped()
    settings = {
        "BRIM_LEASE_MS": str(round(LEASE_S * 1000)),
        "BRIM_WORKER_CONCURRENCY": str(SLOTS),
        "BRIM_CLAIM_SIZE": "4",
        "BRIM_RECONCILE_S": "0.5",
        "BRIM_LOG_LEVEL": "error",
    }
    async with (
        _numbering() as provider,
        stack(single("openai-compatible", provider.base_url), workers=WORKERS, settings=settings) as brim,
    ):
        workers = sorted(pid for pid in family(brim.pid) if "worker" in command_line(pid))
        number = 0
        while total.trials < wanted:
            spared = workers[number % len(workers)]
            await _round(brim, provider, [pid for pid in workers if pid != spared], number, total)
            number += 1
    return total


async def _round(brim: Stack, provider: NumberingProvider, victims: Sequence[int], number: int, total: Stopped) -> None:
    plain = await brim.post(_items(f"plain-{number}"))
    retried = await brim.post(_items(f"retried-{number}"))
    await eventually(lambda: len(provider.in_flight) >= UNDER_WAY, "calls of all workers", WITHIN_S)
    for pid in victims:
        os.kill(pid, signal.SIGSTOP)
    try:
        ports = {pid: _ports_of(pid) for pid in victims}
        held = {text: port for text, port in provider.in_flight.items() if provider.calls[text] == 1}
        total.trials += sum(any(port in ports[pid] for port in held.values()) for pid in victims)
        stopped = {text for text, port in held.items() if any(port in ports[pid] for pid in victims)}
        retry = asyncio.create_task(_retry(brim, retried))
        await asyncio.sleep(STOPPED_FOR_S)
        again = {text: provider.calls[text] for text in stopped}
    finally:
        for pid in victims:
            os.kill(pid, signal.SIGCONT)
    was_retried = await retry
    for batch_id in (plain, retried):
        await brim.finished(batch_id, WITHIN_S)
        for item in await _all_items(brim, batch_id):
            text = item["request"]["messages"][0]["content"]
            _judge(text, again.get(text, 0), item, total, was_retried=was_retried)


def _items(name: str) -> list[dict[str, Any]]:
    return [{"resourceId": "model", "request": request_of(f"{name}-{each}")} for each in range(ITEMS)]


def _ports_of(pid: int) -> set[int]:
    return {connection.laddr.port for connection in psutil.Process(pid).net_connections("tcp")}


async def _retry(brim: Stack, batch_id: str) -> bool:
    """As soon as the batch ended, run its failed items again. False when none had failed."""
    ended = await brim.finished(batch_id, WITHIN_S)
    if ended["status"] != "FAILED":
        return False
    async with brim.session.post(f"{brim.base}/{batch_id}/retry") as answer:
        answer.raise_for_status()
    return True


async def _all_items(brim: Stack, batch_id: str) -> list[dict[str, Any]]:
    async with brim.session.get(f"{brim.base}/{batch_id}", params={"includesItems": "true"}) as answer:
        answer.raise_for_status()
        return list(json.loads(await answer.read())["items"])


def _judge(text: str, calls_before_waking: int, item: dict[str, Any], total: Stopped, *, was_retried: bool) -> None:
    """calls_before_waking: calls of the item while its first holder was stopped; 0: that one was not."""
    if calls_before_waking < 2:
        return
    total.run_again += 1
    recorded = item["response"]["data"]["choices"][0]["message"]["content"] if item["response"] else item["errorCode"]
    if recorded == "1":
        total.violations.append(f"{text}: the answer of a holder past its deadline was recorded")
    if "retried" in text and was_retried:
        total.run_after_retry += 1
        if item["status"] != "COMPLETED" or int(recorded) < 3:
            total.violations.append(f"{text}: {item['status']} with {recorded} after its retry")
