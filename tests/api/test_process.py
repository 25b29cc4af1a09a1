"""An API process of its own: it starts, serves, and ends its streams when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time

import httpx
import pytest

from scheduler.bootstrap import Core
from scheduler.settings import Settings
from tests.api.world import ADMIN_KEY, ApiWorld
from tests.polling import eventually

_SERVE = "from api.process import run; from scheduler.settings import Settings; run(Settings())"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.slow(2)
async def test_sigterm_ends_streams_and_the_process_soon(core: Core, settings: Settings) -> None:
    port = free_port()
    env = {
        **os.environ,
        "BRIM_REDIS_URL": settings.redis_url,
        "BRIM_DATABASE_URL": settings.database_url,
        "BRIM_ADMIN_KEY": ADMIN_KEY,
        "BRIM_SECRET_KEY": "s" * 32,
        "BRIM_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVE, env=env, stderr=asyncio.subprocess.PIPE
    )
    url = f"http://127.0.0.1:{port}"
    world = ApiWorld(core, url)
    try:

        async def ready() -> bool:
            try:
                return (await world.client.get("/health/ready")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(ready, "the API is ready")
        await world.set_up()
        batch = await world.create(1)
        async with world.client.stream("GET", f"{world.batches}/{batch['batchId']}/events") as stream:
            chunks = stream.aiter_bytes()
            assert b"batch-created" in await anext(chunks)
            told_at = time.monotonic()
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(httpx.RemoteProtocolError):
                assert [chunk async for chunk in chunks] == []
        _, logged = await process.communicate()
        assert process.returncode == 0, logged.decode()
        assert time.monotonic() - told_at < 5
        assert b"api.stopped" in logged
        assert world.key.encode() not in logged
    finally:
        await world.close()
        if process.returncode is None:
            process.kill()
            await process.wait()
