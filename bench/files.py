"""Batches that come as files, with the official `openai` package: how soon they run, and a whole one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil
from openai import AsyncOpenAI
from openai.types import Batch

from bench.stack import KEY, Stack, simulator, single, stack

LINES = 50_000
RUN_LINES = 5_000
SLOW = 'capacity = [{ period = "MINUTE", requests = 600 }]'
"""So that hardly anything runs beside what is measured."""
WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """One large file. accepted_s: from the creation of its batch to in_progress, all lines checked and stored.
    worker_mb: most memory of the worker meanwhile. cancelled_s: from the call to the final state."""

    megabytes: float
    uploaded_s: float
    accepted_s: float
    worker_mb: float
    cancelled_s: float
    result_lines: int


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run. completed_s: from the creation of the batch. once: each custom id in exactly one line."""

    completed_s: float
    counts: dict[str, int]
    once: bool
    usage_is_exact: bool


async def accept(characters: int) -> Accepted:
    """Have a file of LINES with bodies of so many characters accepted, and cancel it."""
    text = "some words here " * (characters // 16)
    content = b"\n".join(_line(number, text) for number in range(LINES))
    async with (
        simulator("--latency-ms", "20") as origin,
        stack(single("openai-compatible", f"{origin}/v1", SLOW)) as brim,
        _client(brim) as client,
    ):
        before = time.perf_counter()
        file = await client.files.create(file=("in.jsonl", content), purpose="batch")
        uploaded = time.perf_counter()
        batch = await _create(client, file.id)
        most_bytes = 0
        while batch.status == "validating":
            await asyncio.sleep(0.05)
            most_bytes = max(most_bytes, _worker_bytes(brim))
            batch = await client.batches.retrieve(batch.id)
        accepted = time.perf_counter()
        if batch.status != "in_progress":
            raise RuntimeError(f"the batch is {batch.status}: {batch.errors}")
        await client.batches.cancel(batch.id)
        batch = await _until(client, batch, "cancelled")
        cancelled = time.perf_counter()
        results = await _results(client, batch)
        return Accepted(
            megabytes=len(content) / 1e6,
            uploaded_s=uploaded - before,
            accepted_s=accepted - uploaded,
            worker_mb=most_bytes / 1e6,
            cancelled_s=cancelled - accepted,
            result_lines=sum(len(lines) for lines in results),
        )


async def run() -> Run:
    """RUN_LINES through a provider without limits that answers after 20 ms."""
    content = b"\n".join(_line(number, "Say something.") for number in range(RUN_LINES))
    async with (
        simulator("--latency-ms", "20") as origin,
        stack(single("openai-compatible", f"{origin}/v1")) as brim,
        _client(brim) as client,
    ):
        file = await client.files.create(file=("in.jsonl", content), purpose="batch")
        started = time.perf_counter()
        batch = await _until(client, await _create(client, file.id), "completed")
        completed_s = time.perf_counter() - started
        output, errors = await _results(client, batch)
        seen = Counter(line["custom_id"] for line in (*output, *errors))
        used: Counter[str] = Counter()
        for line in output:
            usage = line["response"]["body"]["usage"]
            used.update(input=usage["prompt_tokens"], output=usage["completion_tokens"])
        told, counts = batch.usage, batch.request_counts
        return Run(
            completed_s=completed_s,
            counts=counts.model_dump() if counts else {},
            once=set(seen.values()) == {1} and len(seen) == RUN_LINES,
            usage_is_exact=told is not None
            and (told.input_tokens, told.output_tokens) == (used["input"], used["output"]),
        )


def _client(brim: Stack) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{brim.base.partition('/v1/')[0]}/v1", api_key=KEY, max_retries=0, timeout=120)


def _line(number: int, text: str) -> bytes:
    body = {"model": "model", "messages": [{"role": "user", "content": f"{number}: {text}"}], "max_tokens": 16}
    return json.dumps(
        {"custom_id": f"c{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    ).encode()


async def _create(client: AsyncOpenAI, file_id: str) -> Batch:
    return await client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")


async def _until(client: AsyncOpenAI, batch: Batch, status: str) -> Batch:
    async with asyncio.timeout(WITHIN_S):
        while batch.status != status:
            await asyncio.sleep(0.05)
            batch = await client.batches.retrieve(batch.id)
    return batch


async def _results(client: AsyncOpenAI, batch: Batch) -> tuple[list[Any], list[Any]]:
    """Lines of the output and of the error file."""
    found: list[list[Any]] = []
    for file_id in (batch.output_file_id, batch.error_file_id):
        content = (await client.files.content(file_id)).content if file_id else b""
        found.append([json.loads(line) for line in content.splitlines()])
    return found[0], found[1]


def _worker_bytes(brim: Stack) -> int:
    """Resident memory of the worker."""
    found = 0
    for process in psutil.Process(brim.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "worker" in " ".join(process.cmdline()):
                found += process.memory_info().rss
    return found
