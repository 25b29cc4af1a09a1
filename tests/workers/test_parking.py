"""Connections that are parked: shut with their reason, through the loss of Redis, until somebody opens them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import Redis

from scheduler.domain.setup import Target
from scheduler.domain.status import BatchStatus
from scheduler.domain.work import BudgetKind, budget_id
from scheduler.services.budgets.limits import model_budget_id
from scheduler.services.callers.tenants import Tenants
from scheduler.services.setup.parked_connections import ParkedConnections
from scheduler.services.shards.access import Shards
from tests.polling import eventually
from tests.workers.provider import FakeProvider, Seen, answer, refuse
from tests.workers.world import World

NO_CREDIT = refuse(429, "insufficient_quota", "You exceeded your current quota.")


def parked(world: World) -> ParkedConnections:
    """What the API uses."""
    core = world.core
    return ParkedConnections(
        core.store, core.engine, Tenants(core.store), Shards(core.recovery), lambda: datetime.now(UTC)
    )


async def paused_ms(world: World, budget: str) -> int:
    """For how long nothing passes a budget."""
    shard = await world.shard()
    found = await Shards(world.core.recovery).run(shard, lambda: world.core.engine.headroom(shard, [budget]))
    return found[budget].paused_ms if budget in found else 0


async def test_a_connection_without_credit_is_parked_until_somebody_resumes_it(
    world: World, provider: FakeProvider
) -> None:
    provider.reply = NO_CREDIT
    connection = await world.connection(provider.base_url)
    resource = await world.resource(connection, max_retries=0)
    budget = budget_id(BudgetKind.CONNECTION, connection.connection_id)
    async with world.worker():
        batch = await world.submit(resource, [str(i) for i in range(10)])

        async def is_noted() -> bool:
            return bool(await parked(world).of(connection))

        await eventually(is_noted, "the connection to be parked")
        [parking] = await parked(world).of(connection)
        assert (parking.model, parking.code) == ("", "PROVIDER_NO_CREDIT")
        assert parking.reason == "You exceeded your current quota."
        assert timedelta(minutes=55) < parking.due_at - datetime.now(UTC) <= timedelta(hours=1)
        assert await paused_ms(world, budget) > 55 * 60_000
        refused = len(provider.seen)
        assert refused <= 10

        provider.reply = answer
        await parked(world).resume(connection)
        assert (await world.ended(batch)).completed == 10
        assert await parked(world).of(connection) == []
        assert max(provider.calls_per_text().values()) <= 2


async def test_a_resumed_connection_that_is_refused_again_is_parked_again(world: World, provider: FakeProvider) -> None:
    provider.reply = NO_CREDIT
    connection = await world.connection(provider.base_url)
    resource = await world.resource(connection)
    async with world.worker():
        await world.submit(resource, ["one"])

        async def times() -> int:
            return len(provider.seen)

        async def is_noted() -> bool:
            return bool(await parked(world).of(connection))

        await eventually(is_noted, "the connection to be parked")
        for turn in (1, 2):
            before = await times()
            await parked(world).resume(connection)
            await eventually(is_noted, f"the connection to be parked again ({turn})")
            assert await times() > before


async def test_what_is_parked_stays_so_through_the_loss_of_redis(
    world: World, provider: FakeProvider, empty_redis: str
) -> None:
    provider.reply = refuse(401, "invalid_api_key", "Incorrect API key provided: sk-…")
    connection = await world.connection(provider.base_url)
    resource = await world.resource(connection)
    budget = budget_id(BudgetKind.CONNECTION, connection.connection_id)
    async with world.worker():
        batch = await world.submit(resource, ["one", "two"])

        async def is_noted() -> bool:
            return bool(await parked(world).of(connection))

        await eventually(is_noted, "the connection to be parked")
        redis = Redis.from_url(empty_redis)
        await redis.flushall()
        await redis.aclose()

        async def is_shut() -> bool:
            return await paused_ms(world, budget) > 55 * 60_000

        await eventually(is_shut, "the connection to be shut again")
        [parking] = await parked(world).of(connection)
        assert parking.reason == "The provider refused the key (401)."
    assert (await world.batch(batch)).status is BatchStatus.RUNNING
    assert len(provider.seen) <= 4


async def test_the_quota_of_a_model_parks_that_model_only(world: World, provider: FakeProvider) -> None:
    quota = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "20"}
    body = {"error": {"code": 429, "message": "Daily quota.", "details": [{"violations": [quota]}]}}

    def reply(seen: Seen) -> tuple[int, dict[str, str], Any]:
        return (429, {}, body) if seen.body["model"] == "small" else answer(seen)

    provider.reply = reply
    connection = await world.connection(provider.base_url)
    small = await world.resource(connection, targets=(Target(connection.connection_id, "small"),))
    large = await world.resource(connection, targets=(Target(connection.connection_id, "large"),))
    async with world.worker():
        waiting = await world.submit(small, [str(i) for i in range(20)])

        async def is_noted() -> bool:
            return bool(await parked(world).of(connection))

        await eventually(is_noted, "the model to be parked")
        served = await world.ended(await world.submit(large, [str(i) for i in range(20)]))
        assert served.completed == 20
        [parking] = await parked(world).of(connection)
        assert (parking.model, parking.code) == ("small", "PROVIDER_QUOTA_USED_UP")
        assert timedelta(0) < parking.due_at - datetime.now(UTC) <= timedelta(hours=25)
        assert await paused_ms(world, model_budget_id(connection.connection_id, "small")) > 0
        assert await paused_ms(world, budget_id(BudgetKind.CONNECTION, connection.connection_id)) == 0
    assert (await world.batch(waiting)).finished == 0


async def test_a_limit_of_a_day_pauses_its_model_for_as_long_as_told(world: World, provider: FakeProvider) -> None:
    daily = "Rate limit reached on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s."
    refusal = refuse(429, "rate_limit_exceeded", daily)
    provider.reply = lambda seen: (refusal if seen.body["model"] == "small" else answer)(seen)
    connection = await world.connection(provider.base_url)
    small = await world.resource(connection, targets=(Target(connection.connection_id, "small"),))
    large = await world.resource(connection, targets=(Target(connection.connection_id, "large"),))
    budget = model_budget_id(connection.connection_id, "small")
    async with world.worker():
        stuck = await world.submit(small, ["one", "two"])

        async def is_paused() -> bool:
            return 432_000 - 20_000 < await paused_ms(world, budget) <= 434_000

        await eventually(is_paused, "the model to be paused")
        going = await world.submit(large, [str(i) for i in range(20)])
        assert (await world.ended(going)).completed == 20
    assert await paused_ms(world, budget_id(BudgetKind.CONNECTION, connection.connection_id)) == 0
    assert await parked(world).of(connection) == []
    # Some ms pass until the pause is in force: a call given back meanwhile may leave once more, and none after that.
    assert sum(seen.body["model"] == "small" for seen in provider.seen) <= 6
    assert {each.retry_count for each in await world.items(stuck)} == {0}
