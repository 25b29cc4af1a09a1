"""One number tells whether connections or resources changed."""

from __future__ import annotations

import asyncpg

from scheduler.store import PostgresStore
from tests.store.factories import Tenant, connection_in, key_in, make_tenant, new_id, resource_in


async def test_it_rises_with_every_change_of_a_connection_or_resource_and_with_nothing_else(
    store: PostgresStore, tenant: Tenant
) -> None:
    seen = [await store.setup.offers_stamp()]

    async def changed() -> bool:
        seen.append(await store.setup.offers_stamp())
        return int(seen[-1]) > int(seen[-2])

    assert not await changed()
    await store.setup.put_connection(connection_in(tenant, name="moved"), create=False)
    assert await changed()
    await store.setup.put_resource(resource_in(tenant, tenant.resource_id, "smaller"), create=False)
    assert await changed()
    new = resource_in(tenant, new_id(), "new")
    await store.setup.put_resource(new, create=True)
    assert await changed()
    await store.setup.delete_resource(tenant.environment_id, new.resource_id)
    assert await changed()
    # Made anew under its id: its version goes on, the count is as before.
    await store.setup.put_resource(new, create=True)
    assert await changed()
    await store.setup.put_api_key(key_in(tenant, name="other"), None, create=False)
    assert not await changed()


async def test_it_is_told_with_the_change_and_holds_up_no_other(
    store: PostgresStore, tenant: Tenant, database: str
) -> None:
    other = await make_tenant(store, "other")
    before = await store.setup.offers_stamp()
    first = await asyncpg.connect(database, server_settings={"timezone": "UTC"})
    second = await asyncpg.connect(database, server_settings={"timezone": "UTC", "lock_timeout": "5s"})
    update = "UPDATE connections SET name = 'x', version = version + 1 WHERE connection_id = $1"
    try:
        mine, theirs = first.transaction(), second.transaction()
        await mine.start()
        await theirs.start()
        await first.execute(update, tenant.connection_id)
        await second.execute(update, other.connection_id)
        await theirs.commit()
        after = await store.setup.offers_stamp()
        assert int(after) == int(before) + 1, "only what is committed counts"
        await mine.commit()
        assert int(await store.setup.offers_stamp()) == int(after) + 1
    finally:
        await first.close()
        await second.close()
