"""The batch engine over its reference backend: Postgres, Redis, files, workers and a provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.batch_engine import (
    BatchEngine,
    BatchJob,
    BatchStatus,
    BatchSubmission,
    ExecutionMode,
    InvalidSubmission,
    ItemStatus,
    RequestCounts,
    SourceFormat,
    SubmissionItem,
    UnknownBatch,
)
from scheduler.batch_engine.reference import ReferenceBackend
from scheduler.bootstrap import open_core
from scheduler.domain.setup import DEFAULT_SCOPES, ApiKey
from scheduler.services.callers.keys import make_key
from scheduler.settings import Settings
from tests.polling import eventually
from tests.workers.provider import FakeProvider, Seen, refuse
from tests.workers.world import NOW, World, new_id


@pytest.fixture
async def world(make_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[World]:
    """A tenant with a file store of its own."""
    async with open_core(make_settings(files_dir=tmp_path / "files")) as core:
        world = World(core)
        await world.set_up()
        yield world


async def key_of(world: World) -> ApiKey:
    made = make_key()
    key = ApiKey(
        workspace_id=world.workspace_id,
        environment_id=world.environment_id,
        api_key_id=new_id(),
        name=f"k-{new_id()}",
        description=None,
        enabled=True,
        resources=None,
        labels=(),
        capacity=(),
        max_in_flight=None,
        scopes=DEFAULT_SCOPES,
        masked=made.masked,
        version=0,
        created_at=NOW,
        updated_at=NOW,
    )
    return await world.core.store.setup.put_api_key(key, made.key_hash, create=True)


@pytest.fixture
async def engine(world: World) -> BatchEngine:
    backend = ReferenceBackend(world.core, await key_of(world))
    return BatchEngine(backend, backend)


def request(model: str, text: str, **more: Any) -> SubmissionItem:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 5, **more}
    return SubmissionItem(text, body)


async def final(engine: BatchEngine, job: BatchJob) -> BatchJob:
    async def has_ended() -> bool:
        return (await engine.get(job.id)).ended_at is not None

    await eventually(has_ended, "the batch has ended")
    return await engine.get(job.id)


async def test_a_submission_runs_to_its_end_and_its_dead_letters_can_be_replayed(
    world: World, engine: BatchEngine, provider: FakeProvider
) -> None:
    resource = await world.resource(await world.connection(provider.base_url))
    good = provider.reply

    def reply(seen: Seen) -> tuple[int, dict[str, str], Any]:
        return refuse(400, "bad", "never")(seen) if seen.text == "b" else good(seen)

    provider.reply = reply
    items = [request(resource.name, text) for text in "abc"]
    url = "http://127.0.0.1:9/hook"
    job = await engine.submit(BatchSubmission(items, metadata={"of": "me"}, webhook_url=url, webhook_secret="s"))
    assert (job.status, job.counts.total, job.metadata) == (BatchStatus.QUEUED, 0, {"of": "me"})
    async with world.worker():
        done = await final(engine, job)
        assert (done.status, done.counts) == (BatchStatus.COMPLETED, RequestCounts(total=3, succeeded=2, failed=1))
        page = await engine.get_items(job.id, limit=2)
        rest = await engine.get_items(job.id, page.cursor, 2)
        found = {item.custom_id: item for item in (*page.data, *rest.data)}
        assert rest.cursor is None
        assert found["a"].result["choices"][0]["message"]["content"] == "yes"
        assert (found["b"].status, found["b"].error_message) == (ItemStatus.FAILED, "never")
        (letter,) = (await engine.dead_letters(batch_id=job.id)).data
        assert (letter.custom_id, letter.item_id) == ("b", found["b"].id)
        events = {each.event for each in (await engine.deliveries(job.id)).data}
        assert await engine.replay_deliveries(job.id) == 0, "none of them is dead"
        assert {"batch.queued", "batch.started", "batch.item_failed", "batch.completed"} <= events
        provider.reply = good
        assert await engine.replay(job.id) == 1

        async def all_good() -> bool:
            return all(item.status is ItemStatus.SUCCEEDED for item in (await engine.get_items(job.id)).data)

        await eventually(all_good, "the dead letter succeeded")
    assert (await engine.list()).data[0].id == job.id


async def test_anthropics_messages_come_back_as_messages(
    world: World, engine: BatchEngine, provider: FakeProvider
) -> None:
    resource = await world.resource(await world.connection(provider.base_url))
    item = request(resource.name, "a", system="Be brief.")
    job = await engine.submit(BatchSubmission([item], source_format=SourceFormat.ANTHROPIC))
    async with world.worker():
        assert (await final(engine, job)).status is BatchStatus.COMPLETED
    (told,) = (await engine.get_items(job.id)).data
    assert (told.result["type"], told.result["content"]) == ("message", [{"type": "text", "text": "yes"}])
    openai = await engine.list()
    assert openai.data == ()
    assert [each.id for each in (await engine.list(cursor=openai.cursor)).data] == [job.id]


async def test_cancel_and_expiry_end_a_batch(world: World, engine: BatchEngine, provider: FakeProvider) -> None:
    provider.hold = asyncio.Event()
    resource = await world.resource(await world.connection(provider.base_url, max_in_flight=1))
    queued = await engine.submit(BatchSubmission([request(resource.name, "q")]))
    assert (await engine.cancel(queued.id)).status in (BatchStatus.CANCELLING, BatchStatus.CANCELLED)
    short = timedelta(seconds=2)
    running = await engine.submit(BatchSubmission([request(resource.name, text) for text in "ab"]))
    async with world.worker():
        assert (await final(engine, queued)).status is BatchStatus.CANCELLED
        await eventually(lambda: len(provider.seen) == 1, "the first item runs")
        expiring = await engine.submit(BatchSubmission([request(resource.name, "x")], expires_after=short))
        assert (await engine.cancel(running.id)).status is BatchStatus.CANCELLING
        provider.hold.set()
        done = await final(engine, running)
        assert (done.status, done.counts.succeeded, done.counts.cancelled) == (BatchStatus.CANCELLED, 1, 1)
        assert await engine.cancel(running.id) == done
        assert (await final(engine, expiring)).status in (BatchStatus.EXPIRED, BatchStatus.COMPLETED)


async def test_what_only_the_backend_knows_is_told_too(world: World, engine: BatchEngine) -> None:
    with pytest.raises(InvalidSubmission, match="webhook_url"):
        await engine.submit(BatchSubmission([request("m", "a")], webhook_url="http://10.0.0.1/x"))
    messages = BatchSubmission([SubmissionItem("a", {"model": "m"})], source_format=SourceFormat.ANTHROPIC)
    with pytest.raises(InvalidSubmission, match="max_tokens"):
        await engine.submit(messages)
    with pytest.raises(InvalidSubmission, match="JSON"):
        await engine.submit(BatchSubmission([request("m", "a", odd=object())]))
    with pytest.raises(InvalidSubmission, match="execution_mode"):
        await engine.submit(replace(messages, execution_mode=ExecutionMode.NATIVE))
    refused = await engine.submit(BatchSubmission([request("nobody", "a")]))
    stranger = World(world.core)
    await stranger.set_up()
    other = ReferenceBackend(world.core, await key_of(stranger))
    with pytest.raises(UnknownBatch):
        await BatchEngine(other, other).get(refused.id)
    async with world.worker():
        done = await final(engine, refused)
    assert (done.status, len(done.errors)) == (BatchStatus.FAILED, 1)
    assert done.errors[0].startswith("Line 1: The model `nobody` does not exist")
