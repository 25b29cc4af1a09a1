"""A backlog of any length by NDJSON: what it costs the API, Redis and a claim; its first events stay readable."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench.failover import shard_of_tenant
from bench.stack import Stack, single, stack
from scheduler.domain.work import Refund, Release
from scheduler.engine.redis_engine import RedisEngine
from scheduler.settings import Settings

ITEMS = 200_000
SMALL = 100
LINE_BYTES = 300
LINES_A_PIECE = 2_000
CLAIMS = 200
SLOTS = 64
SAMPLE_S = 0.1
WITHIN_S = 3_600.0
FIRST_EVENTS = 20_000
"""The first item's event is looked for among so many: several workers need not end items in order."""
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Backlog:
    """accepted_per_s: items, from the first byte of the POST to its answer. rss: of the API process, at most.
    redis_growth: used_memory, at most while the upload ran and after it. claim_ms: median of a claim of SLOTS with
    SMALL items waiting and with all. drained_per_s: until the last outcome was recorded."""

    items: int
    line_bytes: float
    accepted_per_s: float
    rss_before_mb: float
    rss_mb: float
    redis_growth_mb: float
    claim_few_ms: float
    claim_all_ms: float
    drained_per_s: float
    first_event: int


@dataclass(slots=True)
class _Watched:
    """The most that was seen."""

    rss_bytes: int = 0
    redis_bytes: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)


async def backlog(items: int) -> Backlog:
    """Run it. The worker is stopped while claims are measured, so that nothing else claims."""
    settings = {"BRIM_ALLOW_NOOP": "true", "BRIM_LEASE_MS": "600000"}
    async with stack(single("noop", "http://127.0.0.1:9"), settings=settings) as brim:
        api, worker = _process(brim.pid, "api"), _process(brim.pid, "worker")
        os.kill(worker, signal.SIGSTOP)
        few = await brim.post([json.loads(_line(number)) for number in range(SMALL)])
        claim_few_ms = await _claim_ms(brim)
        os.kill(worker, signal.SIGCONT)
        await brim.finished(few, WITHIN_S)
        os.kill(worker, signal.SIGSTOP)
        rss_before, redis_before = _rss_bytes(api), await _redis_bytes(brim)
        async with _watching(brim, api) as watched:
            started = time.perf_counter()
            batch_id, sent_bytes = await _upload(brim, items)
            accepted_s = time.perf_counter() - started
        claim_all_ms = await _claim_ms(brim)
        os.kill(worker, signal.SIGCONT)
        started = time.perf_counter()
        batch = await brim.finished(batch_id, WITHIN_S)
        drained_s = time.perf_counter() - started
        if batch["completed"] != items:
            raise RuntimeError(f"only {batch['completed']} of {items} items completed")
        first_event = await _first_event(brim, batch_id)
    return Backlog(
        items,
        sent_bytes / items,
        items / accepted_s,
        rss_before / _MB,
        watched.rss_bytes / _MB,
        (watched.redis_bytes - redis_before) / _MB,
        claim_few_ms,
        claim_all_ms,
        items / drained_s,
        first_event,
    )


def _line(number: int) -> bytes:
    head = b'{"resourceId":"model","customId":"item-%d","request":{"messages":[{"role":"user","content":"' % number
    tail = b'"}],"max_tokens":16}}\n'
    text = b"%d: say in one sentence what this is about. " % number
    text += b"The quick brown fox jumps over the lazy dog. " * 8
    return head + text[: LINE_BYTES - len(head) - len(tail)] + tail


async def _upload(brim: Stack, items: int) -> tuple[str, int]:
    sent_bytes = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent_bytes
        yield b'{"type":"ASYNC"}\n'
        for start in range(0, items, LINES_A_PIECE):
            piece = b"".join(map(_line, range(start, min(items, start + LINES_A_PIECE))))
            sent_bytes += len(piece)
            yield piece

    headers = {"Content-Type": "application/x-ndjson"}
    async with brim.session.post(brim.base, data=pieces(), headers=headers) as answer:
        if answer.status != 201:
            raise RuntimeError(f"the upload was answered {answer.status}: {await answer.text()}")
        return str((await answer.json())["batchId"]), sent_bytes


async def _claim_ms(brim: Stack) -> float:
    """Median of CLAIMS claims, each given back."""
    shard = await shard_of_tenant(brim)
    connection = await asyncpg.connect(brim.database_url)
    try:
        epoch = await connection.fetchval("SELECT epoch FROM shards WHERE shard = $1", shard)
    finally:
        await connection.close()
    engine = await RedisEngine.open(brim.redis_url, Settings())
    took_ms: list[float] = []
    try:
        await engine.open_shard(shard, epoch)
        for _ in range(CLAIMS):
            started = time.perf_counter()
            claimed = await engine.claim(
                shard, slots=SLOTS, open_slots=SLOTS, holder="bench", lease_ms=60_000, crowded=frozenset()
            )
            took_ms.append((time.perf_counter() - started) * 1000)
            if len(claimed.leases) != SLOTS:
                raise RuntimeError(f"a claim brought {len(claimed.leases)} of {SLOTS} entries")
            await engine.release(
                shard, [Release(lease.ref, 0, False, Refund.ALL, sent_ago_ms=None) for lease in claimed.leases]
            )
    finally:
        await engine.close()
    return statistics.median(took_ms)


async def _first_event(brim: Stack, batch_id: str) -> int:
    """The number of the event of the first item, read from the beginning."""
    seen = 0
    async with brim.session.get(f"{brim.base}/{batch_id}/events") as answer:
        answer.raise_for_status()
        number = 0
        async for line in answer.content:
            if line.startswith(b"id:"):
                number = int(line[3:])
            elif b'"item-0"' in line:
                return number
            elif not line.strip():
                seen += 1
                if seen > FIRST_EVENTS:
                    break
    raise RuntimeError("the first item's event cannot be read any more")


@asynccontextmanager
async def _watching(brim: Stack, api: int) -> AsyncIterator[_Watched]:
    watched = _Watched()

    async def look() -> None:
        stopped = False
        while not stopped:
            # Once more after the end: the window is in Redis then.
            stopped = watched.stop.is_set()
            watched.rss_bytes = max(watched.rss_bytes, _rss_bytes(api))
            watched.redis_bytes = max(watched.redis_bytes, await _redis_bytes(brim))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAMPLE_S):
                    await watched.stop.wait()

    looking = asyncio.create_task(look())
    try:
        yield watched
    finally:
        watched.stop.set()
        await looking


async def _redis_bytes(brim: Stack) -> int:
    return int((await brim.redis.info("memory"))["used_memory"])


def _rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _process(parent: int, name: str) -> int:
    """The child of `up` that is called so."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").split()
        if name.encode() in words:
            return int(pid)
    raise RuntimeError(f"`up` has no process {name}")
