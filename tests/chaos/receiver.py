"""A receiver of callbacks that remembers all it got, and can be slow, refuse, or cut the connection."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.chaos.history import Receipt

SLOW_S = 1.5


@dataclass
class Receiver:
    """troubled: most callbacks are answered late, with 500, or not at all."""

    url: str = ""
    troubled: bool = False
    receipts: list[Receipt] = field(default_factory=list)
    draw: random.Random = field(default_factory=lambda: random.Random(0))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any POST."""
        body = json.loads(await request.read())
        payload = body["payload"]
        is_item = body["event"] == "ITEM_UPDATE"
        subject = f"item:{payload['customId']}:{payload['status']}" if is_item else f"batch:{payload['status']}"
        key, batch_id = request.headers["X-Webhook-Id"], payload["batchId"]
        trouble = self.draw.random() if self.troubled else 1.0
        if trouble < 0.3:
            await asyncio.sleep(SLOW_S)
        elif trouble < 0.6:
            self.receipts.append(Receipt(key, batch_id, subject, False))
            return web.Response(status=500)
        elif trouble < 0.9:
            self.receipts.append(Receipt(key, batch_id, subject, False))
            _reset(request)
            return web.Response(status=500)
        self.receipts.append(Receipt(key, batch_id, subject, True))
        return web.Response(status=204)


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.close()


@asynccontextmanager
async def receiving(seed: int) -> AsyncIterator[Receiver]:
    """A receiver for the length of the block."""
    receiver = Receiver(draw=random.Random(seed))
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/{path:.*}", receiver.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/callbacks"
    try:
        yield receiver
    finally:
        await runner.cleanup()
