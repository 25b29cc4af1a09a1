"""A caller with the official `openai` package, a provider, a worker and a receiver of webhooks, in one process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiohttp import web
from openai import AsyncOpenAI
from openai.types import Batch

from tests.api.world import ApiWorld
from tests.polling import eventually
from tests.workers.provider import FakeProvider
from workers.worker import Worker

CHAT = "/v1/chat/completions"
FINAL = ("completed", "failed", "cancelled", "expired")


def line(number: int, **changes: Any) -> dict[str, Any]:
    """A line for the resource `model`; None as a change leaves a field out."""
    body = {"model": "model", "messages": [{"role": "user", "content": f"Say {number}"}], "max_tokens": 5}
    given = {"custom_id": f"c{number}", "method": "POST", "url": CHAT, "body": body, **changes}
    return {name: value for name, value in given.items() if value is not None}


def jsonl(*lines: Any) -> bytes:
    """A file of lines, given as objects or as bytes."""
    return b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)


@dataclass
class Receiver:
    """Takes webhooks: headers and exact bytes."""

    url: str = ""
    taken: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Any POST."""
        self.taken.append((dict(request.headers), await request.read()))
        return web.Response(status=204)

    def types(self) -> list[str]:
        """What events came, in the order of their arrival."""
        bodies = [json.loads(body) for _, body in self.taken]
        return [body.get("event_type") or body["type"] for body in bodies]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver for the length of the block."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


class Desk:
    """What a team with a batch does."""

    def __init__(self, world: ApiWorld, client: AsyncOpenAI, provider: FakeProvider) -> None:
        self.world = world
        self.client = client
        self.provider = provider

    async def set_up(self) -> None:
        """The resource `model` at the provider."""
        config = {"baseUrl": self.provider.base_url, "apiKey": "k"}
        await self.world.made(
            self.world.at("ai-connection"), {"name": "fake", "provider": "openai-compatible", "config": config}
        )
        model = {"connectionName": "fake", "model": "m"}
        await self.world.made(self.world.at("ai-resource"), {"name": "model", "model": model})

    async def submit(self, content: bytes, **more: Any) -> Batch:
        """Upload a file and make a batch of it."""
        file = await self.client.files.create(file=("in.jsonl", content), purpose="batch")
        given: dict[str, Any] = {"endpoint": CHAT, "completion_window": "24h", **more}
        return await self.client.batches.create(input_file_id=file.id, **given)

    async def until(self, batch: Batch, *statuses: str, within_s: float = 20.0) -> Batch:
        """The batch once it is in one of these states."""

        async def there() -> Batch | None:
            found = await self.client.batches.retrieve(batch.id)
            return found if found.status in statuses else None

        found = await eventually(there, f"{batch.id} is {' or '.join(statuses)}", within_s)
        assert found is not None
        return found

    async def ended(self, batch: Batch) -> Batch:
        """The batch once it is final."""
        return await self.until(batch, *FINAL)

    async def results(self, file_id: str | None) -> dict[str, dict[str, Any]]:
        """The lines of a result file by custom id; each id at most once."""
        if file_id is None:
            return {}
        content = (await self.client.files.content(file_id)).content
        assert content.endswith(b"\n")
        lines = [json.loads(text) for text in content.splitlines()]
        found = {each["custom_id"]: each for each in lines}
        assert len(found) == len(lines)
        return found

    async def fetch(self, statement: str) -> list[Any]:
        """Look, or reach, behind the API."""
        connection = await asyncpg.connect(self.world.core.store.dsn)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    async def count(self, statement: str) -> int:
        """A number from behind the API."""
        return int((await self.fetch(statement))[0][0])

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """A worker for the length of the block."""
        core = self.world.core
        worker = Worker(core.settings, core.store, core.engine, core.engine.bell, core.recovery, core.vault, core.files)
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        try:
            yield
        finally:
            stop.set()
            # It waits for a token of the bell, and would do so for a second or two.
            await core.engine.bell.hand_on(await self.world.shard())
            await task
