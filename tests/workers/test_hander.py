"""Execution mode native: a batch goes through its provider's own Batch API, once, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from brim_server.simulator.options import Options
from brim_server.simulator.server import Running, running
from scheduler.batch_engine import BatchEngine, BatchJob, BatchStatus, BatchSubmission, ExecutionMode, SubmissionItem
from scheduler.batch_engine.reference import ReferenceBackend
from scheduler.bootstrap import open_core
from scheduler.domain.setup import Provider
from scheduler.providers.batch_api import BatchApi
from scheduler.services.batches.opening import Opening
from scheduler.services.callers.tenants import Tenants
from scheduler.services.setup.catalog import Catalog
from scheduler.services.shards.access import Shards
from scheduler.services.submissions.handing_over import HandingOver
from scheduler.services.submissions.ingestion import Ingestion
from scheduler.settings import Settings
from tests.polling import eventually
from tests.workers.test_batch_engine import key_of
from tests.workers.world import World
from workers.hander import LEASE_S, Hander


@pytest.fixture
async def provider() -> AsyncIterator[Running]:
    """A provider whose batches take a moment."""
    async with running(Options(batch_s=0.3, rpm=1)) as provider:
        yield provider


@pytest.fixture
async def world(make_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[World]:
    """A tenant with a file store of its own, whose workers look often."""
    async with open_core(make_settings(files_dir=tmp_path / "files", native_poll_s=0.2)) as core:
        world = World(core)
        await world.set_up()
        yield world


@pytest.fixture
async def engine(world: World) -> BatchEngine:
    backend = ReferenceBackend(world.core, await key_of(world))
    return BatchEngine(backend, backend)


def native(model: str, *texts: str, **more: Any) -> BatchSubmission:
    def body(text: str) -> dict[str, Any]:
        return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 5, **more}

    return BatchSubmission([SubmissionItem(text, body(text)) for text in texts], execution_mode=ExecutionMode.NATIVE)


async def final(engine: BatchEngine, job: BatchJob) -> BatchJob:
    async def has_ended() -> bool:
        return (await engine.get(job.id)).ended_at is not None

    await eventually(has_ended, "the batch has ended")
    return await engine.get(job.id)


async def stats(provider: Running) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{provider.origin}/stats") as answer:
        return dict(await answer.json())


async def test_a_native_batch_runs_at_its_provider_and_comes_back(
    world: World, engine: BatchEngine, provider: Running
) -> None:
    resource = await world.resource(await world.connection(provider.base_url, provider=Provider.OPENAI))
    texts = [f"Say {number}" for number in range(40)]
    job = await engine.submit(native(resource.name, *texts))
    async with world.worker():
        done = await final(engine, job)
    assert (done.status, done.counts.succeeded, done.counts.failed) == (BatchStatus.COMPLETED, 40, 0)
    items = (await engine.get_items(job.id, limit=50)).data
    assert [item.custom_id for item in items] == texts
    assert all(item.result["object"] == "chat.completion" for item in items)
    seen = await stats(provider)
    assert (seen["batches_created"], seen["worst_minute"]["requests"]) == (1, 0)
    shard = await world.shard()
    assert (await world.core.engine.queue_depths(shard)).active == 0


async def test_what_the_provider_refuses_fails_alone(world: World, engine: BatchEngine, provider: Running) -> None:
    resource = await world.resource(await world.connection(provider.base_url, provider=Provider.OPENAI))
    good, bad = native(resource.name, "a"), native(resource.name, "b", brim_sim={"status": 400, "message": "no b"})
    job = await engine.submit(BatchSubmission([*good.items, *bad.items], execution_mode=ExecutionMode.NATIVE))
    async with world.worker():
        done = await final(engine, job)
    assert (done.counts.succeeded, done.counts.failed) == (1, 1)
    (letter,) = (await engine.dead_letters(batch_id=job.id)).data
    assert (letter.custom_id, letter.error_code, letter.error_message) == ("b", "PROVIDER_400", "no b")


async def test_a_provider_without_a_batch_api_fails_the_items_with_the_reason(
    world: World, engine: BatchEngine, provider: Running
) -> None:
    resource = await world.resource(await world.connection(provider.base_url, provider=Provider.ANTHROPIC))
    job = await engine.submit(native(resource.name, "a"))
    async with world.worker():
        done = await final(engine, job)
    assert done.counts.failed == 1
    assert (await engine.dead_letters()).data[0].error_code == "NATIVE_NOT_SUPPORTED"


@pytest.mark.parametrize("under", ["", "/openai/deployments/gpt"], ids=["resource", "deployment"])
async def test_azure_has_files_and_batches_beside_its_deployments(
    world: World, engine: BatchEngine, provider: Running, under: str
) -> None:
    config = {"baseUrl": provider.origin + under, "deployment": "gpt-4o-batch"}
    connection = await world.connection(provider.base_url, provider=Provider.AZURE, config=config)
    resource = await world.resource(connection)
    job = await engine.submit(native(resource.name, "a", "b"))
    async with world.worker():
        done = await final(engine, job)
    assert (done.status, done.counts.succeeded) == (BatchStatus.COMPLETED, 2)
    items = (await engine.get_items(job.id, limit=5)).data
    assert {item.result["model"] for item in items} == {"gpt-4o-batch"}
    assert (await stats(provider))["batches_created"] == 1


async def test_a_cancelled_batch_is_cancelled_there_too(world: World, engine: BatchEngine) -> None:
    async with running(Options(batch_s=600)) as provider:
        resource = await world.resource(await world.connection(provider.base_url, provider=Provider.OPENAI))
        job = await engine.submit(native(resource.name, "a", "b"))
        async with world.worker(), aiohttp.ClientSession() as session:

            async def statuses() -> list[str]:
                async with session.get(f"{provider.base_url}/batches") as answer:
                    return [each["status"] for each in (await answer.json())["data"]]

            async def handed() -> bool:
                return await statuses() == ["in_progress"]

            await eventually(handed, "the batch was handed over")
            await engine.cancel(job.id)
            done = await final(engine, job)
            assert (done.status, done.counts.cancelled) == (BatchStatus.CANCELLED, 2)

            async def cancelled() -> bool:
                return await statuses() == ["cancelled"]

            await eventually(cancelled, "the provider's batch was cancelled")


class Death(BaseException):
    """The process ends here: nothing catches it."""


class Dying(BatchApi):
    """Dies at one of its calls: before it is made, or after it was made and before anybody hears of it."""

    dies_at = ""
    after = False

    async def upload(self, *args: Any) -> Any:
        return await self._maybe("upload", super().upload(*args))

    async def create(self, *args: Any) -> Any:
        return await self._maybe("create", super().create(*args))

    async def get(self, *args: Any) -> Any:
        return await self._maybe("get", super().get(*args))

    async def _maybe(self, name: str, call: Any) -> Any:
        if name == self.dies_at and not self.after:
            call.close()
            raise Death
        made = await call
        if name == self.dies_at:
            raise Death
        return made


async def ingest(world: World) -> None:
    """Check the one submission that there is, as a worker would, without anything else that a worker does."""
    core = world.core
    opening = Opening(core.settings, core.store, core.engine, Tenants(core.store), Shards(core.recovery))
    with ThreadPoolExecutor(1) as threads:
        ingestion = Ingestion(core.settings, core.store, core.files, opening, threads, lambda: datetime.now(UTC))
        grip = await core.store.submissions.grip("ingester", 30)
        assert grip is not None
        assert (await ingestion.ingest(grip)).became


async def forget_leases(database_url: str) -> None:
    """Let the lease of a hander that died run out."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE handovers SET held_until = '-infinity', due_at = now()")
    await connection.close()


@pytest.mark.parametrize(("call", "after"), [("upload", True), ("create", False), ("create", True), ("get", True)])
async def test_a_hander_that_dies_anywhere_hands_over_once(
    world: World, engine: BatchEngine, provider: Running, call: str, after: bool
) -> None:
    core = world.core
    resource = await world.resource(await world.connection(provider.base_url, provider=Provider.OPENAI))
    job = await engine.submit(native(resource.name, "a", "b"))
    await ingest(world)
    async with aiohttp.ClientSession() as session:

        def hander(api: BatchApi, name: str) -> Hander:
            handing_over = HandingOver(
                core.store,
                core.engine,
                Tenants(core.store),
                Shards(core.recovery),
                Catalog(core.store.setup, core.vault, lambda: 0.0),
                api,
                name,
                LEASE_S,
                lambda: datetime.now(UTC),
                settled_after=timedelta(seconds=0.5),
            )
            return Hander(core.store.handovers, handing_over, name, 0.05)

        dying = Dying(session)
        dying.dies_at, dying.after = call, after

        async def dies() -> bool:
            try:
                await hander(dying, "first").run_once()
            except Death:
                return True
            return False

        await eventually(dies, "the first one dies")
        await forget_leases(core.settings.database_url)
        second = hander(BatchApi(session), "second")

        async def came_back() -> bool:
            return (await second.run_once()).done == 1

        await eventually(came_back, "the second one brought it back")
    async with world.worker():
        done = await final(engine, job)
    assert (done.counts.succeeded, done.counts.total) == (2, 2)
    assert (await stats(provider))["batches_created"] == 1
