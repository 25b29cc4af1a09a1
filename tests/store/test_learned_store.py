"""What workers learned, kept and forgotten."""

from __future__ import annotations

import asyncpg

from scheduler.ports.learned import LearnedOutput
from scheduler.store import PostgresStore
from tests.store.factories import Tenant, new_id


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
