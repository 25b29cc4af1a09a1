"""From a stored batch to recorded outcomes, through real stores and a real provider."""

from __future__ import annotations

import json
from collections.abc import Callable

from scheduler.bootstrap import open_core
from scheduler.domain.setup import Provider
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.services.batches.control_state import tell_control_state
from scheduler.services.budgets.limits import flow_ref
from scheduler.settings import Settings
from tests.workers.provider import FakeProvider, refuse
from tests.workers.world import KEY, World


async def test_every_item_is_called_once_and_recorded_once(world: World, provider: FakeProvider) -> None:
    resource = await world.resource(await world.connection(provider.base_url))
    async with world.worker():
        batch = await world.submit(resource, [f"item {i}" for i in range(300)])
        ended = await world.ended(batch)
    assert (ended.status, ended.completed, ended.last_event) == (BatchStatus.COMPLETED, 300, 302)
    assert set(provider.calls_per_text().values()) == {1}
    items = await world.items(batch)
    assert {item.status for item in items} == {ItemStatus.COMPLETED}
    assert items[0].prompt_tokens == 3
    assert items[0].output_tokens == 2
    assert json.loads(items[0].response or b"")["choices"][0]["message"]["content"] == "yes"


async def test_a_call_carries_the_key_and_the_model_and_no_stream(world: World, provider: FakeProvider) -> None:
    resource = await world.resource(
        await world.connection(provider.base_url), default_args={"temperature": 0.25, "messages": []}
    )
    async with world.worker():
        await world.ended(await world.submit(resource, ["one"]))
    seen = provider.seen[0]
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.text == "one"
    assert (seen.body["model"], seen.body["stream"], seen.body["temperature"]) == ("model-0", False, 0.25)


async def test_a_noop_connection_needs_no_network(world: World) -> None:
    resource = await world.resource(await world.connection("", provider=Provider.NOOP, config={}))
    async with world.worker():
        ended = await world.ended(await world.submit(resource, [str(i) for i in range(2_500)]))
    assert ended.completed == 2_500


async def test_a_request_that_is_refused_fails_with_the_providers_words(world: World, provider: FakeProvider) -> None:
    provider.reply = refuse(400, "context_length_exceeded", "too many tokens")
    resource = await world.resource(await world.connection(provider.base_url))
    async with world.worker():
        batch = await world.submit(resource, ["one"])
        ended = await world.ended(batch)
    item = (await world.items(batch))[0]
    assert (ended.status, item.status) == (BatchStatus.FAILED, ItemStatus.FAILED)
    assert (item.error_code, item.error_message) == ("CONTEXT_LENGTH_EXCEEDED", "too many tokens")
    assert len(provider.seen) == 1


async def test_a_batch_larger_than_its_window_is_brought_piece_by_piece(
    world: World, make_settings: Callable[..., Settings]
) -> None:
    resource = await world.resource(await world.connection("", provider=Provider.NOOP, config={}))
    async with open_core(make_settings(window_entries=100)) as core, world.worker(core):
        small = World(core, world.workspace_id, world.environment_id)
        batch = await small.submit(resource, [str(i) for i in range(3_000)])
        flow = flow_ref((await core.store.batches.flows(batch.batch_id))[0])
        states = await core.engine.flows(await world.shard(), [flow])
        assert all(state.waiting <= 200 for state in states.values())
        ended = await world.ended(batch)
    assert (ended.completed, ended.last_event) == (3_000, 3_002)


async def test_a_paused_batch_waits_and_goes_on_when_postgres_says_so(world: World, provider: FakeProvider) -> None:
    resource = await world.resource(await world.connection(provider.base_url))
    batch = await world.submit(resource, ["one"])
    store, engine = world.core.store, world.core.engine
    paused = await store.batches.set_paused(world.environment_id, batch.batch_id, True)
    assert paused is not None
    flows = await store.batches.flows(batch.batch_id)
    await tell_control_state(store, engine, await world.shard(), paused, flows)
    async with world.worker():
        other = await world.submit(resource, ["two"])
        await world.ended(other)
        assert provider.calls_per_text() == {"two": 1}
        await store.batches.set_paused(world.environment_id, batch.batch_id, False)
        assert (await world.ended(batch)).completed == 1


async def test_two_workers_share_a_batch_and_call_each_item_once(
    world: World, make_settings: Callable[..., Settings], provider: FakeProvider
) -> None:
    resource = await world.resource(await world.connection(provider.base_url))
    async with open_core(make_settings()) as core, world.worker(core), world.worker():
        batch = await world.submit(resource, [str(i) for i in range(1_000)])
        ended = await world.ended(batch)
    assert (ended.completed, ended.last_event) == (1_000, 1_002)
    assert set(provider.calls_per_text().values()) == {1}
