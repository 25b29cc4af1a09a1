"""A store on a database of the test's own, with a tenant to work in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from scheduler.store import PostgresStore
from tests.store.factories import Tenant, make_tenant


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    """An open store, migrated and empty."""
    opened = await PostgresStore.open(database, max_size=6)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def tenant(store: PostgresStore) -> Tenant:
    """A workspace, an environment, a connection, two resources and a key."""
    return await make_tenant(store)


@pytest.fixture
async def postgres(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection to the same database, for looking behind the store and for holding locks."""
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()
