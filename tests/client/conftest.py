"""A fake Brim and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from brim import AsyncClient, Client, RetryPolicy

from .fake_brim import ENVIRONMENT, KEY, WORKSPACE, FakeBrim

FAST = RetryPolicy(first_pause_s=0.001, longest_pause_s=0.005, longest_advice_s=0.01)


@pytest.fixture
def brim() -> Iterator[FakeBrim]:
    with FakeBrim() as fake:
        yield fake


@pytest.fixture
def client(brim: FakeBrim) -> Iterator[Client]:
    with Client(brim.url, KEY, WORKSPACE, ENVIRONMENT, retry=FAST, timeout_s=20) as client:
        yield client


@pytest.fixture
async def async_client(brim: FakeBrim) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(brim.url, KEY, WORKSPACE, ENVIRONMENT, retry=FAST, timeout_s=20) as client:
        yield client
