"""Arguments of `brim-server`, and what a person sees when they are wrong."""

import argparse
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from brim_server.cli import main
from brim_server.commands import api, export, up
from brim_server.running.plan import Plan


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for command in (api, export, up):
        monkeypatch.setattr(command, "setproctitle", lambda _title: None)  # ours stays what it is
    for name in ("BRIM_PORT", "BRIM_HOST", "BRIM_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def _plan(*argv: str) -> Plan:
    parser = argparse.ArgumentParser()
    up.configure(parser)
    arguments = parser.parse_args(argv)
    arguments.command = []
    return up.plan_of(arguments)


def test_up_listens_on_loopback_port_3000_with_one_worker_and_keeps_its_data(tmp_path: Path) -> None:
    plan = _plan()
    assert (plan.host, plan.port, plan.workers, plan.demo) == ("127.0.0.1", 3000, 1, False)
    assert (plan.data_dir, plan.temporary_data) == (tmp_path / ".brim", False)


def test_options_go_before_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BRIM_PORT", "4000")
    monkeypatch.setenv("BRIM_HOST", "0.0.0.0")
    monkeypatch.setenv("BRIM_DATA_DIR", str(tmp_path / "env"))
    assert (_plan().port, _plan().host, _plan().data_dir) == (4000, "0.0.0.0", tmp_path / "env")
    plan = _plan("--port", "0", "--host", "::1", "--data-dir", str(tmp_path / "own"))
    assert (plan.port, plan.host, plan.data_dir) == (0, "::1", tmp_path / "own")


def test_a_demonstration_starts_from_nothing_unless_told_where() -> None:
    assert _plan("--demo").temporary_data
    assert not _plan("--demo", "--data-dir", "here").temporary_data


def test_a_process_that_finds_no_server_says_where_it_looked_but_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRIM_DATABASE_URL", "postgresql://brim:hidden@127.0.0.1:1/brim?password=hidden")
    monkeypatch.delenv("BRIM_REDIS_URL", raising=False)
    monkeypatch.setattr("scheduler.store.connecting.CONNECT_PATIENCE_S", 0.1)
    assert main(["export", "batch_00000000000070008000000000000000", "."]) == 1
    said = capsys.readouterr().err
    assert "BRIM_DATABASE_URL is postgresql://127.0.0.1:1/brim\n" in said
    assert "BRIM_REDIS_URL is not set, so it is redis://127.0.0.1:6379/0" in said
    assert "hidden" not in said


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for given, why in (("file", "File exists"), ("file/inner", "Not a directory")):
        assert main(["up", "--data-dir", given, "--port", "0"]) == 1
        assert capsys.readouterr().err.startswith(
            f"brim-server: the data folder {tmp_path / given} cannot be made: {why}; choose another"
        )


def test_an_api_on_a_port_that_is_taken_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["api", "--port", str(taken.getsockname()[1])]) == 1
    assert "Address already in use; choose others with --host and --port" in capsys.readouterr().err


def test_a_brim_toml_in_our_folder_is_the_set_up_unless_another_is_named() -> None:
    assert _plan().config is None
    Path("brim.toml").touch()
    assert _plan().config == Path("brim.toml")
    assert _plan("--config", "other.toml").config == Path("other.toml")
    assert _plan("--demo").config is None


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["up", "--port", "70000"], "not a whole number from 0 to 65535"),
        (["up", "--workers", "-1"], "not a whole number"),
        (["up", "--work", "2"], "unrecognized arguments"),
        (["migrate", "--", "true"], "only `up` takes a command"),
        (["dance"], "invalid choice"),
        ([], "required"),
    ],
)
def test_bad_arguments_end_with_2_and_a_reason(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_a_bad_setting_is_named_as_its_variable() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "brim_server", "migrate"],
        env={"BRIM_LEASE_MS": "soon", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 2
    assert "BRIM_LEASE_MS: " in done.stderr
    assert "Traceback" not in done.stderr
