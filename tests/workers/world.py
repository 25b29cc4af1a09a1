"""A tenant, a provider and workers in this process, on real stores."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from scheduler.bootstrap import Core
from scheduler.domain.batch import Batch, CallbackOptions, Endpoint, Item, NewBatch, NewItem
from scheduler.domain.capacity import Capacity
from scheduler.domain.ids import uuid7
from scheduler.domain.output_length import OutputGuess
from scheduler.domain.priority import Priority
from scheduler.domain.setup import Connection, Provider, Resource, Target
from scheduler.domain.status import BatchType
from scheduler.services.batches.opening import Opening
from scheduler.services.callers.tenants import Tenants
from scheduler.services.shards.access import Shards
from tests.polling import eventually
from workers.worker import Worker

NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEY = "sk-test-0123456789"


def new_id() -> UUID:
    """A UUIDv7 of now."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))


@dataclass
class World:
    """One environment, one connection, one resource; more of each by the methods."""

    core: Core
    workspace_id: UUID = field(default_factory=new_id)
    environment_id: UUID = field(default_factory=new_id)

    async def set_up(self) -> None:
        """Store workspace and environment."""
        store = self.core.store.setup
        await store.put_workspace(self.workspace_id, f"w-{self.workspace_id}", create=True)
        await store.put_environment(self.workspace_id, self.environment_id, "prod", create=True)
        await self.core.recovery.ensure(await self.shard())

    async def shard(self) -> int:
        """Where the environment lives."""
        environment = await self.core.store.setup.environment(self.environment_id)
        assert environment is not None
        return environment.shard

    async def connection(self, base_url: str, **changes: Any) -> Connection:
        """Store a connection to a provider."""
        connection = Connection(
            workspace_id=self.workspace_id,
            environment_id=self.environment_id,
            connection_id=new_id(),
            name=f"c-{new_id()}",
            description=None,
            provider=Provider.OPENAI_COMPATIBLE,
            profile=None,
            config={"baseUrl": base_url},
            secret_config={"apiKey": self.core.vault.seal(KEY)},
            allowed_models=None,
            capacity=(),
            max_in_flight=None,
            version=0,
            created_at=NOW,
            updated_at=NOW,
        )
        return await self.core.store.setup.put_connection(replace(connection, **changes), create=True)

    async def resource(self, *connections: Connection, **changes: Any) -> Resource:
        """Store a resource whose targets are these connections in order."""
        resource = Resource(
            workspace_id=self.workspace_id,
            environment_id=self.environment_id,
            resource_id=new_id(),
            name=f"r-{new_id()}",
            description=None,
            targets=tuple(Target(c.connection_id, f"model-{i}") for i, c in enumerate(connections)),
            spill=False,
            capacity=(),
            enforce_capacity=True,
            max_in_flight=None,
            timeout_ms=10_000,
            max_retries=5,
            priority=Priority.NORMAL,
            default_args={},
            version=0,
            created_at=NOW,
            updated_at=NOW,
        )
        return await self.core.store.setup.put_resource(replace(resource, **changes), create=True)

    async def store_batch(
        self,
        resource: Resource,
        texts: Sequence[str],
        *,
        callback: CallbackOptions | None = None,
        capacity: tuple[Capacity, ...] = (),
        endpoint: Endpoint = "/v1/chat/completions",
        tokens: int = 10,
        guess: OutputGuess | None = None,
        others: Sequence[Resource] = (),
    ) -> Batch:
        """Store a batch without telling the engine. others: resources that take turns with the first."""
        batch = NewBatch(
            workspace_id=self.workspace_id,
            environment_id=self.environment_id,
            batch_id=new_id(),
            type=BatchType.CALLBACK if callback else BatchType.ASYNC,
            callback=callback,
            capacity=capacity,
            max_in_flight=None,
            priority=Priority.NORMAL,
            metadata=None,
            deadline=None,
            api_key_id=None,
        )
        takers = (resource, *others)
        items = [
            NewItem(
                resource_id=takers[number % len(takers)].resource_id,
                endpoint=endpoint,
                request=json.dumps({"messages": [{"role": "user", "content": text}]}).encode(),
                in_tokens=tokens,
                out_tokens=tokens,
                custom_id=None,
                metadata=None,
                guess=guess,
            )
            for number, text in enumerate(texts)
        ]
        stored, _ = await self.core.store.batches.create(batch, items)
        return stored

    async def submit(self, resource: Resource, texts: Sequence[str], **options: Any) -> Batch:
        """Store a batch and open it in the engine."""
        batch = await self.store_batch(resource, texts, **options)
        core = self.core
        opening = Opening(core.settings, core.store, core.engine, Tenants(core.store), Shards(core.recovery))
        assert await opening.open_batch(batch, await core.store.batches.flows(batch.batch_id))
        return batch

    async def batch(self, batch: Batch) -> Batch:
        """The batch as it is now."""
        found = await self.core.store.batches.get(self.environment_id, batch.batch_id)
        assert found is not None
        return found

    async def ended(self, batch: Batch, within_s: float = 20.0) -> Batch:
        """Wait for the end of a batch."""

        async def has_ended() -> bool:
            return (await self.batch(batch)).ended

        await eventually(has_ended, f"the end of batch {batch.batch_id}", within_s)
        return await self.batch(batch)

    async def items(self, batch: Batch) -> Sequence[Item]:
        """All items with their outcomes."""
        return await self.core.store.items.page(batch.batch_id, after_seq=0, limit=100_000)

    @asynccontextmanager
    async def worker(self, core: Core | None = None) -> AsyncIterator[Worker]:
        """A worker that runs for the length of the block, then drains."""
        core = core or self.core
        worker = Worker(core.settings, core.store, core.engine, core.engine.bell, core.recovery, core.vault, core.files)
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await task
