"""An API process of its own under a large upload, and under a kill in the middle of one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from scheduler.bootstrap import Core
from scheduler.settings import Settings
from tests.api.test_process import free_port
from tests.api.world import ADMIN_KEY, ApiWorld
from tests.polling import eventually

_SERVE = "from api.process import run; from scheduler.settings import Settings; run(Settings())"
_MB = 1_000_000
_HEAD = (
    b'--brim\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--brim\r\nContent-Disposition: form-data; name="file"; filename="large.jsonl"\r\n\r\n'
)
_TAIL = b"\r\n--brim--\r\n"
_HEADERS = {"content-type": "multipart/form-data; boundary=brim"}


@asynccontextmanager
async def api_process(core: Core, settings: Settings) -> AsyncIterator[tuple[ApiWorld, Process]]:
    """An API process with its tenant; its files are those of `settings`."""
    port = free_port()
    env = {
        **os.environ,
        "BRIM_REDIS_URL": settings.redis_url,
        "BRIM_DATABASE_URL": settings.database_url,
        "BRIM_ADMIN_KEY": ADMIN_KEY,
        "BRIM_SECRET_KEY": "s" * 32,
        "BRIM_PORT": str(port),
        "BRIM_FILES_DIR": str(settings.files_dir),
        "BRIM_LOG_LEVEL": "error",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _SERVE, env=env)
    world = ApiWorld(core, f"http://127.0.0.1:{port}")
    try:

        async def ready() -> bool:
            try:
                return (await world.client.get("/health/ready")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(ready, "the API is ready")
        await world.set_up()
        yield world, process
    finally:
        await world.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


def contents(settings: Settings) -> list[Path]:
    """Everything in the file store."""
    return [path for path in settings.files_dir.rglob("*") if path.is_file()]


async def body(megabytes: int, sent: Callable[[], object]) -> AsyncIterator[bytes]:
    """A form with a file of so many MB of lines; `sent` is called after each."""
    yield _HEAD
    piece = (b"x" * 999 + b"\n") * 1_000
    for _ in range(megabytes):
        yield piece
        sent()
    yield _TAIL


@pytest.mark.slow(3)
@pytest.mark.timeout(150)
async def test_a_large_upload_takes_little_memory(core: Core, settings: Settings) -> None:
    """As in the contract: 200 MB, and a process below 300 MB."""
    async with api_process(core, settings) as (world, process):
        seen: list[int] = []

        def look() -> None:
            seen.append(psutil.Process(process.pid).memory_info().rss)

        answer = await world.client.post("/v1/files", content=body(200, look), headers=_HEADERS)
        look()
        assert (answer.status_code, answer.json()["bytes"]) == (200, 200 * _MB)
        assert max(seen) < 300 * _MB
        read = 0
        async with world.client.stream("GET", f"/v1/files/{answer.json()['id']}/content") as stream:
            async for piece in stream.aiter_bytes():
                read += len(piece)
                look()
        assert read == 200 * _MB
        assert max(seen) < 300 * _MB


@pytest.mark.slow(2)
@pytest.mark.timeout(150)
async def test_a_kill_in_the_middle_of_an_upload_leaves_nothing(core: Core, settings: Settings) -> None:
    async with api_process(core, settings) as (world, process):
        arrived = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield _HEAD
            while True:
                yield b"x" * _MB
                if any(path.stat().st_size > 2 * _MB for path in contents(settings)):
                    arrived.set()

        sending = asyncio.create_task(world.client.post("/v1/files", content=endless(), headers=_HEADERS))
        await asyncio.wait_for(arrived.wait(), 20)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            await sending
        await process.wait()
    assert len(contents(settings)) == 1
    # Any worker's next sweep, however soon it comes.
    assert (await core.files.sweep(datetime.now(UTC))).drafts == 1
    assert contents(settings) == []
