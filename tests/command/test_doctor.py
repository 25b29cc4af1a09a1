"""What the doctor finds wrong."""

import socket
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import redis.asyncio
from pydantic import SecretStr

from bench.cluster import LoopbackCluster
from brim_server.cli import main
from brim_server.running.checkup import Finding, examine, examine_this_host
from scheduler.bootstrap import open_core
from scheduler.domain.file import NewFile, Purpose
from scheduler.services.setup.declaration import apply_configuration
from scheduler.settings import Settings

_SETUP = """
[[workspace]]
name = "acme"
[[workspace.environment]]
name = "prod"
[[workspace.environment.connection]]
name = "sim"
provider = "openai"
api_key = "sk-not-a-secret"
[[workspace.environment.resource]]
name = "sim-model"
connection = "sim"
model = "sim-model"
"""


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


async def test_a_system_without_workers_is_in_trouble(empty_redis: str, database: str) -> None:
    found = _by_name(await examine(Settings(redis_url=empty_redis, database_url=database)))
    assert [name for name, finding in found.items() if not finding.good] == ["workers"]
    assert found["migrations"].detail == "up to date"


async def test_a_worker_that_was_heard_of_counts(empty_redis: str, database: str) -> None:
    settings = Settings(redis_url=empty_redis, database_url=database)
    async with open_core(settings) as core:
        await core.store.shards.beat("a-holder", "worker", {})
        await core.store.shards.beat("another", "worker", {})
        await core.store.shards.beat("another", "stopped", {})
    found = _by_name(await examine(settings))
    assert found["workers"] == Finding("workers", True, "1 alive")


async def test_files_that_others_have_and_we_do_not_are_trouble(
    empty_redis: str, database: str, tmp_path: Path
) -> None:
    ours, others = (
        Settings(redis_url=empty_redis, database_url=database, files_dir=tmp_path / name) for name in ("a", "b")
    )
    async with open_core(others) as core:
        await core.store.shards.beat("a-holder", "worker", {})
        assert _by_name(await examine(ours))["files"] == Finding("files", True, "can be reached")
        workspace_id, environment_id, file_id = uuid4(), uuid4(), uuid4()
        await core.store.setup.put_workspace(workspace_id, "w", create=True)
        await core.store.setup.put_environment(workspace_id, environment_id, "e", create=True)
        new = NewFile(workspace_id, environment_id, file_id, Purpose.EVALS, "a", datetime.now(UTC), None)
        async with core.files.drafting() as draft:
            await core.files.keep(draft, new)
    assert _by_name(await examine(others))["files"].good
    assert "share" in _by_name(await examine(ours))["files"].detail
    (tmp_path / "a").write_bytes(b"in the way")
    assert _by_name(await examine(ours))["files"].detail == "The file store is full or cannot be reached."


async def test_provider_keys_that_do_not_open_are_trouble(empty_redis: str, database: str) -> None:
    def with_key(secret_key: str | None) -> Settings:
        return Settings(redis_url=empty_redis, database_url=database, secret_key=secret_key and SecretStr(secret_key))

    async def examined(secret_key: str | None) -> dict[str, Finding]:
        return _by_name(await examine(with_key(secret_key)))

    assert (await examined("a" * 32))["set-up"] == Finding(
        "set-up", True, "nothing yet: no resource that callers could name"
    )
    async with open_core(with_key("a" * 32)) as core:
        await apply_configuration(core, _SETUP, {})
    found = await examined("a" * 32)
    assert found["set-up"] == Finding("set-up", True, "connections 1, resources 1, API keys 0")
    assert found["secrets"] == Finding("secrets", True, "1 open")
    assert (await examined(None))["secrets"].good
    wrong = (await examined("b" * 32))["secrets"]
    assert (wrong.good, "keys of sim " in wrong.detail) == (False, True)


def test_where_nothing_runs_it_says_so_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("brim_server.commands.doctor.setproctitle", lambda _title: None)  # ours stays what it is
    for name in ("BRIM_REDIS_URL", "BRIM_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert main(["doctor", "--data-dir", str(tmp_path)]) == 1
    assert f"TROUBLE  up: none runs in {tmp_path}" in capsys.readouterr().out


async def test_a_worker_elsewhere_does_not_speak_for_this_host(empty_redis: str, database: str) -> None:
    settings = Settings(redis_url=empty_redis, database_url=database)
    async with open_core(settings) as core:
        await core.store.shards.beat("a-holder", "worker", {"host": "another"})
        (alone,) = await examine_this_host(settings)
        await core.store.shards.beat("our-holder", "worker", {"host": socket.gethostname()})
        (found,) = await examine_this_host(settings)
    assert (alone.good, found.good) == (False, True)


async def test_missing_migrations_are_named_with_what_to_do(empty_redis: str, bare_database: str) -> None:
    found = _by_name(await examine(Settings(redis_url=empty_redis, database_url=bare_database)))
    assert not found["migrations"].good
    assert "run brim-server migrate" in found["migrations"].detail
    assert "workers" not in found


async def test_a_redis_that_may_evict_is_trouble(empty_redis: str, database: str) -> None:
    async with redis.asyncio.Redis.from_url(empty_redis) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = _by_name(await examine(Settings(redis_url=empty_redis, database_url=database)))
        finally:
            await client.config_set("maxmemory-policy", "noeviction")
    assert not found["eviction policy"].good


@pytest.mark.parametrize("name", ["redis", "postgres"])
async def test_a_server_that_cannot_be_reached_is_trouble(empty_redis: str, database: str, name: str) -> None:
    urls = {"redis_url": empty_redis, "database_url": database}
    urls |= (
        {"redis_url": "unix:///nowhere/redis.sock"}
        if name == "redis"
        else {"database_url": "postgresql://brim@/brim?host=/nowhere"}
    )
    found = _by_name(await examine(Settings(redis_url=urls["redis_url"], database_url=urls["database_url"])))
    assert not found[name].good
    assert "workers" not in found


async def test_a_cluster_is_examined_as_one_server_is(database: str, redis_cluster: LoopbackCluster) -> None:
    redis_cluster.clear()
    found = _by_name(await examine(Settings(redis_url=redis_cluster.url, database_url=database)))
    assert (found["redis"].good, found["redis"].detail) == (True, "a cluster; every node with slots answers")
    assert (found["eviction policy"].good, found["eviction policy"].detail) == (True, "noeviction")
    assert found["queues"].good
