"""How large an item may be: the largest that some target admits, by what its provider counts."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.pools import Pool, PoolDefinition
from scheduler.domain.setup import Connection, Provider, Target
from scheduler.services.items.terms import terms_of
from tests.store.factories import Tenant, connection_in, new_id, resource_in

TENANT = Tenant(*(UUID(int=i) for i in range(1, 7)))
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def connection(provider: Provider, *limits: Capacity) -> Connection:
    return connection_in(TENANT, connection_id=new_id(), provider=provider, capacity=limits)


def most(in_tokens: int, *connections: Connection, max_share: float | None = None) -> int | None:
    """The largest item with so much input on a resource with these targets, in a pool with this largest share."""
    targets = tuple(Target(each.connection_id, "m") for each in connections)
    resource = resource_in(TENANT, TENANT.resource_id, "r", targets=targets)
    pools = None
    if max_share is not None:
        pool = Pool("p", 1, 0.0, max_share, (TENANT.resource_id,))
        pools = PoolDefinition(TENANT.workspace_id, TENANT.environment_id, (pool,), 1, NOW, NOW)
    return terms_of([resource], connections, None, (), pools)["r"].most_tokens(in_tokens)


def test_one_target_that_admits_it_is_enough() -> None:
    small = connection(Provider.OPENAI, Capacity(Period.MINUTE, tokens=100))
    large = connection(Provider.OPENAI, Capacity(Period.MINUTE, tokens=900), Capacity(Period.DAY, tokens=500))
    assert most(1, small, large) == 500
    assert most(1, small, connection(Provider.OPENAI)) is None


@pytest.mark.parametrize(("in_tokens", "expected"), [(100, None), (101, 100)])
def test_where_only_the_input_is_counted_the_output_does_not_count(in_tokens: int, expected: int | None) -> None:
    assert most(in_tokens, connection(Provider.GEMINI, Capacity(Period.MINUTE, tokens=100))) == expected


def test_a_pool_has_a_part_of_the_minute_only() -> None:
    one = connection(Provider.OPENAI, Capacity(Period.MINUTE, tokens=1_001), Capacity(Period.DAY, tokens=700))
    assert most(1, one, max_share=0.1) == 101
    assert most(1, one, max_share=1.0) == 700
    assert most(1, connection(Provider.OPENAI, Capacity(Period.DAY, tokens=700)), max_share=0.1) == 700
    assert most(1, connection(Provider.OPENAI), max_share=0.1) is None
