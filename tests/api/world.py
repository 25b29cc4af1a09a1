"""A tenant made over the API, and the means to finish its items without workers or providers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import msgspec

from api.connection import HEAD_S
from scheduler.bootstrap import Core
from scheduler.domain.outcome import ItemOutcome
from scheduler.domain.status import ItemStatus
from scheduler.domain.work import Doorbell
from scheduler.services.budgets.limits import queue_ref
from tests.api.server import serving

ADMIN_KEY = "admin-key-of-the-tests"
UNUSED_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak HTTP without TLS: each would read all certificate authorities of the system, 30 ms."""


class ApiWorld:
    """One workspace and environment with a connection, a resource `r` and a key."""

    def __init__(self, core: Core, url: str) -> None:
        self.core = core
        self.url = url
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        self.admin = httpx.AsyncClient(base_url=url, headers=headers, timeout=20, verify=UNUSED_TLS)
        self.client = httpx.AsyncClient(base_url=url, timeout=20, verify=UNUSED_TLS)
        self.workspace = self.environment = self.connection = self.resource = self.key_id = ""
        self.key = ""

    async def close(self) -> None:
        """Close the clients."""
        await self.admin.aclose()
        await self.client.aclose()

    async def set_up(self) -> None:
        """Make the tenant."""
        self.workspace = (await self.made("/v1/workspace", {"name": "acme"}))["workspaceId"]
        self.environment = (await self.made(f"/v1/environment/{self.workspace}", {"name": "prod"}))["environmentId"]
        connection = await self.made(
            self.at("ai-connection"),
            {
                "name": "sim",
                "provider": "openai-compatible",
                "config": {"baseUrl": "http://127.0.0.1:9/v1", "apiKey": "sk-secret-of-the-provider"},
            },
        )
        self.connection = connection["connectionId"]
        self.resource = (await self.add_resource("r"))["resourceId"]
        key = await self.made(self.at("api-key"), {"name": "dev"})
        self.key, self.key_id = key["key"], key["apiKeyId"]
        self.client.headers["x-api-key"] = self.key

    async def add_resource(self, name: str, **more: Any) -> Any:
        """One more resource on the connection."""
        model = {"connectionName": "sim", "model": "m"}
        return await self.made(self.at("ai-resource"), {"name": name, "model": model, **more})

    def at(self, noun: str) -> str:
        """The path of a noun in the tenant."""
        return f"/v1/{noun}/{self.workspace}/{self.environment}"

    @property
    def batches(self) -> str:
        """The path of the batches."""
        return self.at("completion-batch")

    async def made(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST as the admin; the object that was made."""
        answer = await self.admin.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def create(self, count: int = 3, **more: Any) -> Any:
        """An ASYNC batch of `count` items; `more` overrides its fields."""
        body = {"type": "ASYNC", "items": [item(number) for number in range(1, count + 1)], **more}
        answer = await self.client.post(self.batches, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def finish(
        self, batch_id: str, seqs: Sequence[int], status: ItemStatus = ItemStatus.COMPLETED, *, run: int = 1
    ) -> None:
        """Record outcomes, and ring as the committer does."""
        outcomes = [outcome(UUID(batch_id), seq, status, run) for seq in seqs]
        # The API may still hold the row for what follows an answer: a flush that does not wait would skip the batch.
        flushed = await self.core.store.outcomes.flush(outcomes, wait_for_locks=True)
        shard = await self.shard()
        bells = [
            Doorbell(
                queue_ref(each.workspace_id, each.environment_id, UUID(self.resource)),
                str(each.batch_id),
                each.last_event,
            )
            for each in flushed.batches
        ]
        await self.core.engine.ring(shard, bells)

    async def shard(self) -> int:
        """The tenant's shard."""
        found = await self.core.store.setup.environment(UUID(self.environment))
        assert found is not None
        return found.shard


@asynccontextmanager
async def inhabited(core: Core, head_s: float = HEAD_S) -> AsyncIterator[ApiWorld]:
    """A served API with a tenant in it. head_s: how long it waits for a request's headers."""
    async with serving(core, head_s=head_s) as url:
        world = ApiWorld(core, url)
        try:
            await world.set_up()
            yield world
        finally:
            await world.close()


def item(number: int, **more: Any) -> dict[str, Any]:
    """An item as a caller writes it."""
    request = {"messages": [{"role": "user", "content": f"Say {number}"}], "max_tokens": 5}
    return {"resourceId": "r", "customId": f"c{number}", "request": request, **more}


def outcome(batch_id: UUID, seq: int, status: ItemStatus, run: int = 1) -> ItemOutcome:
    """What a worker would record."""
    completed = status is ItemStatus.COMPLETED
    now = datetime.now(UTC)
    return ItemOutcome(
        batch_id=batch_id,
        seq=seq,
        run=run,
        status=status,
        error_code=None if completed else "PROVIDER_ERROR",
        error_message=None if completed else "It said no.",
        response=msgspec.json.encode({"id": f"answer-{seq}", "text": "a\u2028b"}) if completed else None,
        response_headers={"x-request-id": "q"} if completed else None,
        prompt_tokens=7 if completed else None,
        output_tokens=3 if completed else None,
        retry_count=0,
        connection_id=None,
        model="m",
        started_at=now,
        completed_at=now,
        valid_until=None,
    )
