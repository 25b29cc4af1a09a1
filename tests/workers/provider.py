"""A provider on loopback that answers as it is told, and remembers what it was sent."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Seen:
    """One request. at_s: monotonic seconds of its arrival."""

    at_s: float
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """The content of its first message: how tests tell items apart."""
        return str(self.body["messages"][0]["content"])


Reply = Callable[[Seen], "tuple[int, dict[str, str], Any]"]


def answer(_seen: Seen) -> tuple[int, dict[str, str], Any]:
    """A good answer."""
    return (
        200,
        {"x-request-id": "r-1"},
        {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        },
    )


def refuse(status: int, code: str = "bad", message: str = "no", **headers: str) -> Reply:
    """An error in the OpenAI shape; header names with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _seen: (status, named, {"error": {"message": message, "type": code, "code": code}})


@dataclass
class FakeProvider:
    """`reply` decides every answer; `hold`, when set, keeps calls waiting until it is released."""

    base_url: str = ""
    reply: Reply = answer
    seen: list[Seen] = field(default_factory=list)
    hold: asyncio.Event | None = None

    def calls_per_text(self) -> Counter[str]:
        """How often each item arrived."""
        return Counter(seen.text for seen in self.seen)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any POST."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Seen(time.monotonic(), request.path, headers, await request.json())
        self.seen.append(seen)
        if self.hold is not None:
            await self.hold.wait()
        status, answer_headers, body = self.reply(seen)
        if isinstance(body, bytes):
            return web.Response(status=status, headers=answer_headers, body=body)
        return web.json_response(body, status=status, headers=answer_headers)


@asynccontextmanager
async def running_provider() -> AsyncIterator[FakeProvider]:
    """A provider for the length of the block."""
    provider = FakeProvider()
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
        if provider.hold is not None:
            provider.hold.set()
        await runner.cleanup()
