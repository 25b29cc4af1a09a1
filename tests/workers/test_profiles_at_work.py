"""What a connection's profile changes, through real stores and a real provider."""

from __future__ import annotations

import json

import pytest

from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.output_length import LEAST_SEEN
from scheduler.domain.setup import Connection, Provider
from scheduler.domain.work import BudgetKind, budget_id
from tests.polling import eventually
from tests.workers.provider import FakeProvider, Reply, refuse
from tests.workers.provider import answer as openai_answer
from tests.workers.world import KEY, World
from workers import learner

LIMIT = (Capacity(Period.MINUTE, tokens=100_000),)
MESSAGE = {
    "id": "msg_1",
    "content": [{"type": "text", "text": "yes"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 900, "output_tokens": 4},
}


async def tokens_used(world: World, connection: Connection) -> int:
    """What the connection's budget has counted."""
    budget = budget_id(BudgetKind.CONNECTION, connection.connection_id)
    headroom = await world.core.engine.headroom(await world.shard(), [budget])
    return headroom[budget].limits[0].tokens_used


@pytest.mark.parametrize(
    ("name", "reply", "charged"),
    [
        ("openai-compatible", openai_answer, 20),  # reserved: 10 + 10
        ("openai", refuse(400), 20),
        ("gemini", openai_answer, 3),  # used: 3 in; it counts the input only
        ("vllm", refuse(400), 0),
    ],
)
async def test_calls_cost_what_the_profile_says(
    world: World, provider: FakeProvider, name: str, reply: Reply, charged: int
) -> None:
    provider.reply = reply
    connection = await world.connection(provider.base_url, profile=name, capacity=LIMIT)
    resource = await world.resource(connection)
    async with world.worker():
        await world.ended(await world.submit(resource, ["a", "b", "c"]))
    assert await tokens_used(world, connection) == 3 * charged


async def test_anthropic_is_called_natively_and_charges_what_it_used(world: World, provider: FakeProvider) -> None:
    provider.reply = lambda _: (200, {}, MESSAGE)
    connection = await world.connection(provider.base_url, provider=Provider.ANTHROPIC, capacity=LIMIT)
    resource = await world.resource(connection)
    async with world.worker():
        batch = await world.submit(resource, ["a", "b"])
        ended = await world.ended(batch)
    assert (ended.completed, ended.prompt_tokens, ended.output_tokens) == (2, 2 * 903, 2 * 4)
    assert {seen.path for seen in provider.seen} == {"/v1/messages"}
    assert {seen.headers["x-api-key"] for seen in provider.seen} == {KEY}
    item = (await world.items(batch))[0]
    assert json.loads(item.response or b"")["choices"][0]["message"]["content"] == "yes"
    assert await tokens_used(world, connection) == 2 * (3 + 4)


async def test_azure_is_called_by_deployment(world: World, provider: FakeProvider) -> None:
    config = {"baseUrl": provider.base_url.removesuffix("/v1"), "deployment": "d"}
    resource = await world.resource(await world.connection("", provider=Provider.AZURE, config=config))
    async with world.worker():
        await world.ended(await world.submit(resource, ["a"]))
    assert provider.seen[0].path == "/openai/deployments/d/chat/completions"
    assert provider.seen[0].headers["api-key"] == KEY


async def test_reserves_are_learned_from_answers(
    world: World, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "INTERVAL_S", 0.05)
    resource = await world.resource(await world.connection(provider.base_url))

    async def learned() -> bool:
        found = await world.core.store.setup.resource(world.environment_id, resource.resource_id)
        return found is not None and found.likely_output_tokens is not None

    async with world.worker():
        await world.ended(await world.submit(resource, [str(i) for i in range(LEAST_SEEN)]))
        await eventually(learned, "a learned reserve")
    found = await world.core.store.setup.resource(world.environment_id, resource.resource_id)
    assert found is not None
    assert found.likely_output_tokens == 2
