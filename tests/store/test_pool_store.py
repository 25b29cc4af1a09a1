"""Pools, kept."""

from __future__ import annotations

from scheduler.domain.pools import Pool
from scheduler.store import PostgresStore
from tests.store.factories import Tenant, new_id


async def test_a_definition_is_replaced_and_its_version_never_falls(store: PostgresStore, tenant: Tenant) -> None:
    assert await store.setup.pool_definitions(tenant.environment_id) == []
    pools = (Pool("gold", 1, 0.25, 1.0, (tenant.resource_id,)), Pool("tin", 2, 0.0, 0.5, ()))
    first = await store.setup.put_pools(tenant.workspace_id, tenant.environment_id, pools)
    assert (first.pools, first.version) == (pools, 1)
    assert await store.setup.pool_definitions() == [first]
    emptied = await store.setup.put_pools(tenant.workspace_id, tenant.environment_id, ())
    assert (emptied.pools, emptied.version, emptied.created_at) == ((), 2, first.created_at)
    assert await store.setup.pool_definitions(new_id()) == []
