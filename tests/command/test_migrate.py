"""`brim-server migrate --config`: what a person reads in the log of a container."""

import re
from pathlib import Path

import pytest

from brim_server.cli import main

_SETUP = """
[[workspace]]
name = "acme"
[[workspace.environment]]
name = "prod"
[[workspace.environment.api_key]]
name = "dev"
"""


def test_the_key_is_told_once_and_how_to_reach_an_environment_every_time(
    empty_redis: str,
    bare_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BRIM_REDIS_URL", empty_redis)
    monkeypatch.setenv("BRIM_DATABASE_URL", bare_database)
    # Ours stay what they are.
    monkeypatch.setattr("brim_server.commands.migrate.setproctitle", lambda _title: None)
    monkeypatch.setattr("scheduler.logs.configure_logs", lambda _settings, _process: None)
    (tmp_path / "brim.toml").write_text(_SETUP)
    told = []
    for _ in range(2):
        assert main(["migrate", "--config", str(tmp_path / "brim.toml")]) == 0
        told.append(capsys.readouterr().out)
    assert ["key brim_" in text for text in told] == [True, False]
    reached = [re.findall(r"^acme/prod: BRIM_WORKSPACE=\S{36} BRIM_ENVIRONMENT=\S{36}$", text, re.M) for text in told]
    assert reached[0] == reached[1] != []
