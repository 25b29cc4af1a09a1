"""Real servers for tests: one embedded pair a process; for each test a database of its own and an empty Redis.

`BRIM_TEST_REDIS_URL` and `BRIM_TEST_DATABASE_URL` (both) use servers that are there already, in one process; that
Redis is flushed and that Postgres gets databases made and dropped.
"""

import asyncio
import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pytest
import redis.asyncio

from bench.cluster import LoopbackCluster
from brim_server.embedded import EmbeddedServers
from scheduler.engine.servers import open_servers, slot_of

_TEMPLATE = "brim_template"
_ROOM_BYTES = 2 << 30
_MOST_PROCESSES = 8
"""Each has a Postgres and a Redis of its own."""
_FRESH_S = 60
_numbers = itertools.count(1)

# How long an example takes says something of the machine, nothing of the code.
hypothesis.settings.register_profile("brim", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("brim")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto`: one process more than there are cores, because many tests wait for a clock."""
    return 1 if os.environ.get("BRIM_TEST_REDIS_URL") else min(_cores(), _MOST_PROCESSES) + 1


def _cores() -> int:
    """Those that this process may use, where the system says so: a container has fewer than its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pytest_configure() -> None:
    """Let what tests start be interrupted: a run in the background of a shell ignores SIGINT, which children inherit; a
    handler they do not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: one that begins last is waited for by all other processes. Else the order is random."""

    def about_s(item: pytest.Item) -> float:
        mark = item.get_closest_marker("slow")
        return float((*mark.args, 5.0)[0]) if mark else 0.0

    items.sort(key=about_s, reverse=True)


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers of this test run are."""

    redis_url: str
    database_url: str

    def database_url_of(self, name: str) -> str:
        """Return the DSN of another database of the same server."""
        return urlunsplit(urlsplit(self.database_url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers of the whole run, started at their first use."""
    redis_url = os.environ.get("BRIM_TEST_REDIS_URL")
    database_url = os.environ.get("BRIM_TEST_DATABASE_URL")
    if redis_url and database_url:
        if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
            raise pytest.UsageError("each process of the tests flushes the Redis that is given: use -n 0")
        yield Servers(redis_url, database_url)
        return
    # Not pytest's own folder: its path is long, and unix sockets allow about 100 characters.
    home = Path(tempfile.mkdtemp(prefix="brim-test-servers-", dir=_in_memory()))
    _remove_leftovers(home.parent)
    try:
        with EmbeddedServers(home, durable=False) as embedded:
            yield Servers(embedded.redis_url, embedded.database_url)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _in_memory() -> Path | None:
    """A folder in memory with room for some dozens of databases: one is made there in 10 ms, on a disk in 100."""
    folder = Path("/dev/shm")
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if not os.access(folder, os.W_OK) or shutil.disk_usage(folder).free < _ROOM_BYTES * processes:
        return None
    return folder


def _remove_leftovers(folder: Path) -> None:
    """Remove the servers' folders of runs that were killed: in memory they would stay until the machine starts again.

    Servers hold the lock of their folder, so one that is free belongs to nobody; only a fresh one may be about to.
    """
    for lock in folder.glob("brim-test-servers-*/lock"):
        with contextlib.suppress(OSError), lock.open() as held:
            if time.time() - lock.stat().st_mtime > _FRESH_S:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent)


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    """URL of the run's Redis, as it is; most tests want `empty_redis`."""
    return servers.redis_url


@pytest.fixture(scope="session")
def database_url(servers: Servers) -> str:
    """DSN of the run's Postgres, an empty database shared by all; most tests want `database`."""
    return servers.database_url


@pytest.fixture
async def empty_redis(redis_url: str) -> str:
    """URL of a Redis without any key, script or configuration of earlier tests' scripts."""
    client = redis.asyncio.Redis.from_url(redis_url)
    try:
        await client.flushall()
        await client.script_flush()
    finally:
        await client.aclose()
    return redis_url


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[LoopbackCluster]:
    """A cluster of three masters for the whole run, started at its first use."""
    with LoopbackCluster() as cluster:
        yield cluster


@dataclass(frozen=True, slots=True)
class EngineUrls:
    """Where an engine under test lives: on one server, or on a cluster."""

    kind: str
    url: str
    """As BRIM_REDIS_URL."""
    holder_of: Callable[[int], str]
    """The URL of the one server that holds a shard."""


@pytest.fixture(scope="session", params=["server", "cluster"])
def engine_urls(request: pytest.FixtureRequest) -> EngineUrls:
    """Both kinds in turn; most tests want `empty_engine`."""
    if request.param == "server":
        url: str = request.getfixturevalue("redis_url")
        return EngineUrls(request.param, url, lambda _: url)
    cluster: LoopbackCluster = request.getfixturevalue("redis_cluster")
    return EngineUrls(
        request.param,
        cluster.url,
        lambda shard: f"redis://127.0.0.1:{cluster.master_of(slot_of(shard)).port}",
    )


@pytest.fixture
async def empty_engine(engine_urls: EngineUrls) -> EngineUrls:
    """An engine without any key or script: the test runs on one server and on a cluster."""
    servers = open_servers(engine_urls.url)
    try:
        await servers.everywhere(lambda client: client.flushall())
        await servers.everywhere(lambda client: client.script_flush())
    finally:
        await servers.close()
    return engine_urls


@pytest.fixture(scope="session")
def migrated_template(servers: Servers) -> str:
    """Name of a database with all migrations applied, to copy from."""

    async def make() -> None:
        from scheduler.store.migrations import migrate

        await _drop_database(servers, _TEMPLATE)
        await _execute(servers, f"CREATE DATABASE {_TEMPLATE}")
        await migrate(servers.database_url_of(_TEMPLATE))

    asyncio.run(make())
    return _TEMPLATE


@pytest.fixture
async def database(servers: Servers, migrated_template: str) -> AsyncIterator[str]:
    """DSN of a database of this test's own, migrated and empty."""
    name = f"brim_test_{os.getpid()}_{next(_numbers)}"
    await _execute(servers, f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY FILE_COPY")
    try:
        yield servers.database_url_of(name)
    finally:
        await _drop_database(servers, name)


@pytest.fixture
async def bare_database(servers: Servers) -> AsyncIterator[str]:
    """DSN of a database of this test's own without any table (tests of the migrations)."""
    name = f"brim_test_{os.getpid()}_{next(_numbers)}"
    await _execute(servers, f"CREATE DATABASE {name}")
    try:
        yield servers.database_url_of(name)
    finally:
        await _drop_database(servers, name)


async def _drop_database(servers: Servers, name: str) -> None:
    await _execute(servers, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _execute(servers: Servers, statement: str) -> None:
    connection = await asyncpg.connect(servers.database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
