"""A provider that does not serve one of its models: the others on the same connection go on."""

from __future__ import annotations

import time

from scheduler.domain.setup import Target
from scheduler.services.budgets.pausing import budget_of
from tests.polling import eventually
from tests.workers.provider import FakeProvider, Seen, answer, refuse
from tests.workers.world import World


async def test_a_model_that_is_out_of_service_slows_no_other_model_of_its_connection(
    world: World, provider: FakeProvider
) -> None:
    provider.reply = lambda seen: (refuse(503) if _model(seen) == "down" else answer)(seen)
    connection = await world.connection(provider.base_url)
    down = await world.resource(connection, targets=(Target(connection.connection_id, "down"),), max_retries=20)
    good = await world.resource(connection, targets=(Target(connection.connection_id, "good"),))
    async with world.worker():
        await world.submit(down, [f"down {i}" for i in range(300)])
        shard, resting = await world.shard(), budget_of(connection.connection_id, "down")

        async def rests() -> bool:
            found = await world.core.engine.headroom(shard, [resting])
            return resting in found and found[resting].paused_ms > 0

        await eventually(rests, "a pause of the model")
        for _ in range(5):
            started_s = time.monotonic()
            ended = await world.ended(await world.submit(good, [str(i) for i in range(5)]))
            assert (ended.completed, time.monotonic() - started_s < 1.0) == (5, True)


async def test_the_next_target_serves_while_a_model_is_out_of_service(world: World, provider: FakeProvider) -> None:
    provider.reply = lambda seen: (refuse(503) if _model(seen) == "down" else answer)(seen)
    connection = await world.connection(provider.base_url)
    models = tuple(Target(connection.connection_id, model) for model in ("down", "good"))
    resource = await world.resource(connection, targets=models, max_retries=20)
    async with world.worker():
        ended = await world.ended(await world.submit(resource, [str(i) for i in range(100)]))
    assert ended.completed == 100


def _model(seen: Seen) -> str:
    return str(seen.body["model"])
