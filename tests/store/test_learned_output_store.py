"""What workers learned, kept and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from scheduler.domain.batch import Batch, NewItem
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.output_length import OutputGuess
from scheduler.domain.pools import Pool
from scheduler.domain.work import Limit, Meter
from scheduler.ports.learned import LearnedModel, LearnedOutput
from scheduler.store import PostgresStore
from tests.store.factories import Tenant, connection_in, key_in, make_batch, new_batch, new_id, new_items, resource_in


async def likely(store: PostgresStore, tenant: Tenant) -> dict[str, int | None]:
    """What is likely, by the resource's name."""
    return {each.name: each.likely_output_tokens for each in await store.setup.resources(tenant.environment_id)}


async def test_what_was_learned_is_blended_by_how_much_was_seen(store: PostgresStore, tenant: Tenant) -> None:
    assert await likely(store, tenant) == {"small": None, "large": None}
    await store.setup.learn_outputs([LearnedOutput(tenant.resource_id, 100, 20), LearnedOutput(new_id(), 7, 7)])
    assert await likely(store, tenant) == {"small": 100, "large": None}
    await store.setup.learn_outputs([LearnedOutput(tenant.resource_id, 201, 60)])
    assert await likely(store, tenant) == {"small": 176, "large": None}
    one = await store.setup.resource(tenant.environment_id, tenant.resource_id)
    assert one is not None
    assert one.likely_output_tokens == 176
    await store.setup.learn_outputs([])


async def test_old_answers_weigh_less_than_a_change(store: PostgresStore, tenant: Tenant) -> None:
    await store.setup.learn_outputs([LearnedOutput(tenant.resource_id, 1_000, 2**31 - 1)])
    await store.setup.learn_outputs([LearnedOutput(tenant.resource_id, 2**31 - 1, 500)])
    found = (await likely(store, tenant))["small"]
    assert found is not None
    assert 2**30 <= found <= 2**30 + 1_000


async def test_what_was_learned_goes_with_its_resource(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await store.setup.learn_outputs([LearnedOutput(tenant.resource_id, 100, 20)])
    assert await store.setup.delete_api_key(tenant.environment_id, tenant.api_key_id)
    assert await store.setup.delete_resource(tenant.environment_id, tenant.resource_id)
    assert await postgres.fetchval("SELECT count(*) FROM learned_output") == 0


FREE = (Capacity(Period.MINUTE, requests=600),)


def guessed(tenant: Tenant, guess: OutputGuess | None = None, **changes: Any) -> NewItem:
    """An item of 10 tokens whose answer was guessed to need 16."""
    return new_items(tenant, 1, guess=guess or OutputGuess(), **changes)[0]


async def stored(store: PostgresStore, tenant: Tenant, items: Sequence[NewItem], **changes: Any) -> Batch:
    """A batch of these."""
    batch, _ = await store.batches.create(new_batch(tenant, **changes), items)
    return batch


async def reserves(store: PostgresStore, batch: Batch, tenant: Tenant) -> list[int]:
    """What a refill would reserve for the answers of a batch's items."""
    _, entries = await store.items.window(batch.batch_id, tenant.resource_id, after_seq=0, limit=100)
    return [entry.out_tokens for entry in entries]


async def learn(store: PostgresStore, tenant: Tenant, tokens: int, batch: Batch | None = None, seen: int = 20) -> None:
    """A worker tells how long answers of the resource are, or of a batch on it."""
    told = LearnedOutput(tenant.resource_id, tokens, seen, batch.batch_id if batch else None)
    await store.setup.learn_outputs([told])


async def unlimit(store: PostgresStore, tenant: Tenant) -> None:
    """Take the token limit off the connection."""
    await store.setup.put_connection(connection_in(tenant, capacity=FREE), create=False)


async def test_guesses_follow_the_batch_else_the_resource_else_what_was_stored(
    store: PostgresStore, tenant: Tenant
) -> None:
    items = [guessed(tenant), new_items(tenant, 1)[0], guessed(tenant, OutputGuess(copies=2))]
    mine, other = await stored(store, tenant, items), await stored(store, tenant, items)
    assert await reserves(store, mine, tenant) == [16, 16, 16]
    await learn(store, tenant, 50)
    assert await reserves(store, mine, tenant) == await reserves(store, other, tenant) == [50, 16, 100]
    await learn(store, tenant, 400, mine)
    assert await reserves(store, mine, tenant) == [400, 16, 800]
    assert await reserves(store, other, tenant) == [50, 16, 100]
    await learn(store, tenant, 3, other)
    assert await reserves(store, other, tenant) == [3, 16, 6]
    assert await likely(store, tenant) == {"small": 50, "large": None}


async def test_what_a_worker_has_seen_itself_counts_until_the_store_knows_of_the_batch(
    store: PostgresStore, tenant: Tenant
) -> None:
    batch = await stored(store, tenant, [guessed(tenant)])

    async def seen_by_one(tokens: int) -> int:
        _, (entry,) = await store.items.window(
            batch.batch_id, tenant.resource_id, after_seq=0, limit=1, known_tokens=tokens
        )
        return entry.out_tokens

    await learn(store, tenant, 50)
    assert await seen_by_one(400) == 400
    await learn(store, tenant, 300, batch)
    assert await seen_by_one(400) == 300


async def test_a_guess_stays_within_what_the_request_allows(store: PostgresStore, tenant: Tenant) -> None:
    batch = await stored(store, tenant, [guessed(tenant, OutputGuess(most_tokens=40))])
    await learn(store, tenant, 30, batch)
    assert await reserves(store, batch, tenant) == [30]
    await learn(store, tenant, 5_000, batch, seen=100)
    assert await reserves(store, batch, tenant) == [40]


async def test_what_workers_say_of_a_batch_is_blended(store: PostgresStore, tenant: Tenant) -> None:
    await unlimit(store, tenant)
    batch = await stored(store, tenant, [guessed(tenant)])
    await learn(store, tenant, 100, batch, seen=20)
    await learn(store, tenant, 201, batch, seen=60)
    assert await reserves(store, batch, tenant) == [176]


async def test_a_flow_of_a_resource_is_not_told_by_another(store: PostgresStore, tenant: Tenant) -> None:
    batch = await stored(store, tenant, [guessed(tenant), guessed(tenant, resource_id=tenant.other_resource_id)])
    await store.setup.learn_outputs([LearnedOutput(tenant.other_resource_id, 300, 20, batch.batch_id)])
    assert await reserves(store, batch, tenant) == [16]
    _, (theirs,) = await store.items.window(batch.batch_id, tenant.other_resource_id, after_seq=0, limit=9)
    assert theirs.out_tokens == 300


async def test_nothing_is_kept_of_what_does_not_exist_and_all_goes_with_the_batch(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    batch = await make_batch(store, tenant, 1)
    told = [LearnedOutput(*ids) for ids in ((tenant.resource_id, 7, 20, new_id()), (new_id(), 7, 20, batch.batch_id))]
    await store.setup.learn_outputs(told)
    assert await postgres.fetchval("SELECT count(*) FROM learned_batch_output") == 0
    await learn(store, tenant, 7, batch)
    assert await postgres.fetchval("SELECT count(*) FROM learned_batch_output") == 1
    await postgres.execute("DELETE FROM batches")
    assert await postgres.fetchval("SELECT count(*) FROM learned_batch_output") == 0


async def limit_the_batch(store: PostgresStore, tenant: Tenant) -> dict[str, Any]:
    return {"capacity": (Capacity(Period.HOUR, tokens=1_000),)}


async def limit_the_key(store: PostgresStore, tenant: Tenant) -> dict[str, Any]:
    await store.setup.put_api_key(key_in(tenant, capacity=(Capacity(Period.DAY, tokens=1_000),)), None, create=False)
    return {"api_key_id": tenant.api_key_id}


async def limit_the_resource(store: PostgresStore, tenant: Tenant) -> dict[str, Any]:
    capacity = (Capacity(Period.MINUTE, tokens=1_000),)
    await store.setup.put_resource(resource_in(tenant, tenant.resource_id, "small", capacity=capacity), create=False)
    return {}


async def limit_the_connection(store: PostgresStore, tenant: Tenant) -> dict[str, Any]:
    capacity = (Capacity(Period.MINUTE, tokens=1_000),)
    await store.setup.put_connection(connection_in(tenant, capacity=capacity), create=False)
    return {}


async def limit_the_model(store: PostgresStore, tenant: Tenant) -> dict[str, Any]:
    limits = (Limit("MINUTE", None, 1_000), Limit("MINUTE", None, 5, meter=Meter.INPUT))
    await store.setup.learn_limits([LearnedModel(tenant.connection_id, "a", limits, None)])
    await store.setup.learn_limits([LearnedModel(tenant.connection_id, "elsewhere", (Limit("DAY", None, 9),), None)])
    return {}


async def limit_the_pool(store: PostgresStore, tenant: Tenant) -> dict[str, Any]:
    capacity = (Capacity(Period.MINUTE, tokens=10_000),)
    await store.setup.put_connection(connection_in(tenant, capacity=capacity), create=False)
    pools = [Pool("p", 1, 0.0, 0.1, (tenant.resource_id,)), Pool("q", 1, 0.0, 0.001, (tenant.other_resource_id,))]
    await store.setup.put_pools(tenant.workspace_id, tenant.environment_id, pools)
    return {}


@pytest.mark.parametrize(
    "limit",
    [limit_the_batch, limit_the_key, limit_the_resource, limit_the_connection, limit_the_model, limit_the_pool],
    ids=lambda each: each.__name__,
)
async def test_a_guess_that_rises_makes_no_item_larger_than_its_limits_admit(
    store: PostgresStore, tenant: Tenant, limit: Any
) -> None:
    await unlimit(store, tenant)
    items = [guessed(tenant), guessed(tenant, in_tokens=900), guessed(tenant, in_tokens=995)]
    batch = await stored(store, tenant, items, **await limit(store, tenant))
    await learn(store, tenant, 5_000, batch)
    assert await reserves(store, batch, tenant) == [990, 100, 16]


async def test_a_guess_that_rises_stays_within_a_limit_on_answers(store: PostgresStore, tenant: Tenant) -> None:
    await unlimit(store, tenant)
    limits = (Limit("MINUTE", None, 300, meter=Meter.OUTPUT),)
    await store.setup.learn_limits([LearnedModel(tenant.connection_id, "b", limits, None)])
    batch = await stored(store, tenant, [guessed(tenant)])
    await learn(store, tenant, 5_000, batch)
    assert await reserves(store, batch, tenant) == [300]
