"""What administrators set up: kept as given, unique by name, not deleted while it is used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.domain.errors import Conflict, Invalid, InvariantBroken, NotFound
from scheduler.domain.ids import shard_of
from scheduler.domain.setup import Target
from scheduler.domain.status import ItemStatus
from scheduler.store import PostgresStore
from tests.store.factories import (
    NOW,
    Tenant,
    connection_in,
    key_in,
    make_batch,
    make_tenant,
    new_id,
    outcome,
    resource_in,
)


async def test_a_connection_comes_back_as_it_was_given(store: PostgresStore, tenant: Tenant) -> None:
    stored = await store.setup.connection(tenant.environment_id, tenant.connection_id)
    assert stored is not None
    assert replace(stored, version=0, created_at=NOW, updated_at=NOW) == connection_in(tenant)
    assert stored.version == 1
    assert b"sealed" not in repr(stored).encode()
    assert await store.setup.connections() == [stored]


async def test_a_resource_comes_back_as_it_was_given(store: PostgresStore, tenant: Tenant) -> None:
    stored = await store.setup.resource(tenant.environment_id, tenant.resource_id)
    assert stored is not None
    given = resource_in(tenant, tenant.resource_id, "small")
    assert replace(stored, version=0, created_at=NOW, updated_at=NOW) == given
    by_name = await store.setup.resources(tenant.environment_id)
    assert [resource.name for resource in by_name] == ["large", "small"]


async def test_a_key_is_found_by_its_hash_only(store: PostgresStore, tenant: Tenant) -> None:
    stored = await store.setup.api_key_by_hash(b"acme".ljust(32, b"\1"))
    assert stored is not None
    assert replace(stored, version=0, created_at=NOW, updated_at=NOW) == key_in(tenant)
    assert await store.setup.api_key_by_hash(b"other") is None
    assert await store.setup.api_keys(tenant.environment_id) == [stored]
    assert await store.setup.api_key(tenant.environment_id, tenant.api_key_id) == stored
    with pytest.raises(InvariantBroken, match="hash"):
        await store.setup.put_api_key(key_in(tenant), None, create=True)


async def test_a_change_of_a_key_without_a_hash_keeps_its_secret(store: PostgresStore, tenant: Tenant) -> None:
    changed = await store.setup.put_api_key(
        key_in(tenant, enabled=False, masked="wrong", resources=None), None, create=False
    )
    assert (changed.enabled, changed.masked, changed.resources, changed.version) == (False, "brim_ab…yz", None, 2)
    assert await store.setup.api_key_by_hash(b"acme".ljust(32, b"\1")) == changed


async def test_an_environment_lives_on_the_shard_of_its_id(store: PostgresStore, tenant: Tenant) -> None:
    environment = await store.setup.environment(tenant.environment_id)
    assert environment is not None
    assert environment.shard == shard_of(tenant.environment_id, 16)
    assert await store.setup.environments(new_id()) == []
    assert await store.setup.environments() == [environment]


async def test_versions_go_on_after_a_deletion_under_the_same_id(store: PostgresStore, tenant: Tenant) -> None:
    resource = resource_in(tenant, new_id(), "third")
    await store.setup.put_resource(resource, create=True)
    assert (await store.setup.put_resource(resource, create=False)).version == 2
    assert await store.setup.delete_resource(tenant.environment_id, resource.resource_id)
    assert (await store.setup.put_resource(resource, create=True)).version == 3


async def test_names_are_unique_within_their_parent(store: PostgresStore, tenant: Tenant) -> None:
    other = await make_tenant(store, "other")  # the same names elsewhere are fine
    with pytest.raises(Conflict, match="name is taken") as caught:
        await store.setup.put_workspace(new_id(), "acme", create=True)
    assert caught.value.code == "ALREADY_EXISTS"
    with pytest.raises(Conflict, match="name is taken"):
        await store.setup.put_environment(tenant.workspace_id, new_id(), "prod", create=True)
    with pytest.raises(Conflict, match="name is taken"):
        await store.setup.put_connection(connection_in(tenant, connection_id=new_id()), create=True)
    with pytest.raises(Conflict, match="name is taken"):
        await store.setup.put_resource(resource_in(other, other.resource_id, "large"), create=False)
    with pytest.raises(Conflict, match="id or key is taken"):
        await store.setup.put_workspace(tenant.workspace_id, "new", create=True)


async def test_what_is_missing_is_named(store: PostgresStore, tenant: Tenant) -> None:
    async def code_of(call: object) -> str:
        with pytest.raises(NotFound) as caught:
            await call  # type: ignore[misc]
        return caught.value.code

    setup, lost = store.setup, new_id()
    assert await code_of(setup.put_workspace(lost, "x", create=False)) == "WORKSPACE_NOT_FOUND"
    assert await code_of(setup.put_environment(lost, new_id(), "x", create=True)) == "WORKSPACE_NOT_FOUND"
    assert await code_of(setup.put_environment(lost, new_id(), "x", create=False)) == "ENVIRONMENT_NOT_FOUND"
    connection = connection_in(tenant, connection_id=lost, name="x")
    assert await code_of(setup.put_connection(connection, create=False)) == "AI_CONNECTION_NOT_FOUND"
    elsewhere = replace(connection, environment_id=lost)
    assert await code_of(setup.put_connection(elsewhere, create=True)) == "ENVIRONMENT_NOT_FOUND"
    resource = resource_in(tenant, lost, "x")
    assert await code_of(setup.put_resource(resource, create=False)) == "AI_RESOURCE_NOT_FOUND"
    astray = replace(resource, targets=(Target(lost, "m"),))
    assert await code_of(setup.put_resource(astray, create=True)) == "AI_CONNECTION_NOT_FOUND"
    assert await setup.resource(tenant.environment_id, lost) is None
    key = key_in(tenant, api_key_id=lost, name="x")
    assert await code_of(setup.put_api_key(key, None, create=False)) == "API_KEY_NOT_FOUND"
    assert await setup.connection(tenant.environment_id, lost) is None
    assert await setup.workspace(lost) is None
    assert not await setup.delete_connection(tenant.environment_id, lost)
    assert not await setup.delete_resource(tenant.environment_id, lost)
    assert not await setup.delete_environment(lost)
    assert not await setup.delete_workspace(lost)


async def test_what_cannot_be_stored_is_refused_by_name(store: PostgresStore, tenant: Tenant) -> None:
    with pytest.raises(Invalid, match="workspace"):
        await store.setup.put_workspace(new_id(), "a\0b", create=True)
    with pytest.raises(Invalid, match="ai-resource"):
        await store.setup.put_resource(resource_in(tenant, new_id(), "x", timeout_ms=1 << 40), create=True)


async def test_what_others_use_is_not_deleted(store: PostgresStore, tenant: Tenant) -> None:
    setup, environment_id = store.setup, tenant.environment_id
    with pytest.raises(Conflict, match="environment prod") as caught:
        await setup.delete_workspace(tenant.workspace_id)
    assert caught.value.code == "INVALID_STATE"
    with pytest.raises(Conflict, match="ai-connection sim, ai-resource large, ai-resource small, api-key dev"):
        await setup.delete_environment(environment_id)
    with pytest.raises(Conflict, match="ai-resource large, ai-resource small"):
        await setup.delete_connection(environment_id, tenant.connection_id)
    with pytest.raises(Conflict, match="api-key dev"):
        await setup.delete_resource(environment_id, tenant.resource_id)


async def test_a_resource_is_kept_while_a_batch_runs_on_it(store: PostgresStore, tenant: Tenant) -> None:
    batch = await make_batch(store, tenant, 1)
    assert await store.setup.delete_api_key(tenant.environment_id, tenant.api_key_id)
    with pytest.raises(Conflict, match=str(batch.batch_id)):
        await store.setup.delete_resource(tenant.environment_id, tenant.resource_id)
    await store.outcomes.flush([outcome(batch, 1, ItemStatus.FAILED)])
    assert await store.setup.delete_resource(tenant.environment_id, tenant.resource_id)
    # Its history stays readable.
    item = await store.items.item(tenant.environment_id, batch.batch_id, 1)
    assert item is not None
    assert item.resource_id == tenant.resource_id


async def test_an_unused_tenant_can_be_taken_down_from_below(store: PostgresStore, tenant: Tenant) -> None:
    setup, environment_id = store.setup, tenant.environment_id
    assert await setup.delete_api_key(environment_id, tenant.api_key_id)
    assert not await setup.delete_api_key(environment_id, tenant.api_key_id)
    for resource in await setup.resources(environment_id):
        assert await setup.delete_resource(environment_id, resource.resource_id)
    assert await setup.delete_connection(environment_id, tenant.connection_id)
    assert await setup.delete_environment(environment_id)
    assert await setup.delete_workspace(tenant.workspace_id)
    assert await setup.workspaces() == []
