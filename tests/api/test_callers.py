"""Keys whose limits count callers apart."""

from __future__ import annotations

from uuid import UUID

import pytest
from starlette.requests import Request

from api.auth import caller_of
from tests.api.world import ApiWorld


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", None),
        (None, None),
    ],
)
def test_a_caller_is_a_network(host: str | None, caller: str | None) -> None:
    client = (host, 50_000) if host is not None else None
    assert caller_of(Request({"type": "http", "headers": [], "client": client})) == caller


async def test_a_batch_keeps_where_it_came_from_if_its_key_counts_callers(world: ApiWorld) -> None:
    made = await world.create(1)
    plain = await world.core.store.batches.get(UUID(str(world.environment)), UUID(made["batchId"]))
    assert plain is not None
    assert plain.caller is None
    path = f"{world.at('api-key')}/{world.key_id}"
    capacity = [{"period": "MINUTE", "requests": 2, "dimension": "source-ip"}]
    assert (await world.admin.put(path, json={"capacity": capacity})).status_code == 200
    made = await world.create(5)
    batch = await world.core.store.batches.get(UUID(str(world.environment)), UUID(made["batchId"]))
    assert batch is not None
    assert batch.caller is not None
    shard = (await world.core.store.setup.environments())[0].shard
    claimed = await world.core.engine.claim(
        shard, slots=50, open_slots=50, holder="w", lease_ms=10_000, crowded=frozenset()
    )
    by_batch = [lease.ref.flow.batch_id for lease in claimed.leases]
    assert by_batch.count(made["batchId"]) == 2
