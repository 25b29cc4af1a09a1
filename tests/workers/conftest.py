"""Real stores, a tenant, a provider."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from scheduler.bootstrap import open_core
from scheduler.settings import Settings
from tests.workers.provider import FakeProvider, running_provider
from tests.workers.world import World


@pytest.fixture
def make_settings(empty_redis: str, database: str, tmp_path: Path) -> Callable[..., Settings]:
    """Settings on this test's servers; name what differs."""

    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = {
            "redis_url": empty_redis,
            "database_url": database,
            "secret_key": SecretStr("x" * 32),
            "lease_ms": 5_000,
            "worker_concurrency": 200,
            "allow_noop": True,
            "drain_s": 2.0,
            "safety_poll_s": 1.0,
            "reconcile_s": 0.5,
            "callback_allow_hosts": ("127.0.0.1",),
            "files_dir": tmp_path / "files",
        }
        return Settings(**(values | changes))

    return make


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in this process stop soon: each test drains one."""
    monkeypatch.setattr("workers.wakes.LISTEN_S", 0.1)


@pytest.fixture
async def world(make_settings: Callable[..., Settings]) -> AsyncIterator[World]:
    """One tenant on real stores."""
    async with open_core(make_settings()) as core:
        world = World(core)
        await world.set_up()
        yield world


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider that answers at once."""
    async with running_provider() as provider:
        yield provider
