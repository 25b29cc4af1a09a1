"""One API on real stores, with a tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import SecretStr

from scheduler.bootstrap import Core, open_core
from scheduler.settings import Settings
from tests.api.batch_desk import Desk
from tests.api.world import ADMIN_KEY, UNUSED_TLS, ApiWorld, inhabited
from tests.workers.provider import running_provider


@pytest.fixture
def settings(empty_redis: str, database: str, tmp_path: Path) -> Settings:
    """Settings on this test's servers."""
    return Settings(
        redis_url=empty_redis,
        database_url=database,
        secret_key=SecretStr("s" * 32),
        admin_key=SecretStr(ADMIN_KEY),
        max_body_bytes=2_000_000,
        max_batch_items=1_000,
        callback_allow_hosts=("127.0.0.1",),
        files_dir=tmp_path / "files",
        max_file_bytes=3_000_000,
    )


@pytest.fixture
async def core(settings: Settings) -> AsyncIterator[Core]:
    """A core on real stores."""
    async with open_core(settings) as core:
        yield core


@pytest.fixture
async def world(core: Core) -> AsyncIterator[ApiWorld]:
    """A served API with a tenant in it."""
    async with inhabited(core) as world:
        yield world


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parents[2]


@pytest.fixture
async def desk(world: ApiWorld) -> AsyncIterator[Desk]:
    """A caller, and a provider that answers at once; no worker yet."""
    plain = DefaultAsyncHttpxClient(verify=UNUSED_TLS)
    client = AsyncOpenAI(base_url=f"{world.url}/v1", api_key=world.key, max_retries=0, http_client=plain)
    async with running_provider() as provider, client:
        desk = Desk(world, client, provider)
        await desk.set_up()
        yield desk
