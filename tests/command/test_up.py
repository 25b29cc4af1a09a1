"""Whole runs of `brim-server up`: what starts, what is started again, what is left at the end."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.polling import until
from tests.processes import alive, command_line, family, users_of

pytestmark = pytest.mark.slow(5)

_ROOT = Path(__file__).resolve().parents[2]
_SETUP = """
[[workspace]]
name = "acme"
[[workspace.environment]]
name = "prod"
[[workspace.environment.connection]]
name = "sim"
provider = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
api_key = "env:SIM_KEY"
[[workspace.environment.resource]]
name = "sim-model"
connection = "sim"
model = "sim-model"
[[workspace.environment.api_key]]
name = "dev"
"""


@dataclass(frozen=True, slots=True)
class Up:
    """A running `up`. url: where its API is."""

    process: "subprocess.Popen[str]"
    url: str

    def titles(self) -> list[str]:
        """Return what `ps` shows of its descendants."""
        return [command_line(pid).strip() for pid in family(self.process.pid)]

    def workers(self) -> list[int]:
        """Return the pids of its descendants that are called worker."""
        return [pid for pid in family(self.process.pid) if "worker" in command_line(pid)]


Start = Callable[..., Up]


@pytest.fixture
def home() -> Iterator[Path]:
    """A short folder for data, gone after the test."""
    home = Path(tempfile.mkdtemp(prefix="brim-test-"))
    yield home
    shutil.rmtree(home)


@pytest.fixture
def environment() -> dict[str, str]:
    """Our environment without settings of Brim."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("BRIM_")}
    return {**plain, "SIM_KEY": "not-a-secret"}


@pytest.fixture
def start(home: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Start `up` on a free port and wait until it says that it is ready; all are ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> Up:
        process = subprocess.Popen(
            [sys.executable, "-m", "brim_server", "up", "--data-dir", str(home / "data"), "--port", "0", *arguments],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.startswith("Brim is ready: http://127.0.0.1:"), ready
        return Up(process, ready.partition(": ")[2].strip())

    yield start
    for process in started:
        with process:
            process.kill()
    until(lambda: not users_of(home), "nothing runs in the data folder")


def _get(url: str) -> int:
    with contextlib.closing(urllib.request.urlopen(url, timeout=5)) as response:
        return int(response.status)


def test_it_runs_until_told_to_stop_and_leaves_nothing(start: Start) -> None:
    up = start("--workers", "2")
    assert _get(f"{up.url}/health/live") == 200
    assert _get(f"{up.url}/health/ready") == 200
    assert command_line(up.process.pid).strip() == "brim-server up"
    titles = up.titles()
    assert titles.count("brim-server worker") == 2
    assert titles.count("brim-server api") == 1
    assert len([title for title in titles if "worker" in title]) == 2
    everyone = family(up.process.pid)
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(20) == 0
    assert [pid for pid in everyone if alive(pid)] == []


def test_an_interrupt_ends_it_as_well(start: Start) -> None:
    up = start()
    everyone = family(up.process.pid)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(20) == 0
    assert [pid for pid in everyone if alive(pid)] == []


def test_an_interrupt_of_the_terminal_in_the_midst_of_the_first_start_leaves_no_words(
    home: Path, environment: dict[str, str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "brim_server", "up", "--data-dir", str(home / "data"), "--port", "0"],
        cwd=home,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        until(lambda: (home / "data" / "postgres.new" / "PG_VERSION").exists(), "the database is being made")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all that is in the foreground
        assert process.stderr is not None
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")
    assert users_of(home) == []


def test_a_killed_worker_is_started_again(start: Start) -> None:
    up = start("--workers", "1")
    (first,) = up.workers()
    os.kill(first, signal.SIGKILL)
    until(lambda: up.workers() not in ([], [first]), "another worker")
    until(lambda: command_line(up.workers()[0]).strip() == "brim-server worker", "it is up")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties children to a killed parent")
def test_a_killed_up_leaves_nothing_and_the_next_one_starts(start: Start) -> None:
    up = start()
    everyone = family(up.process.pid)
    up.process.kill()
    until(lambda: not [pid for pid in everyone if alive(pid)], "all children end", within_s=20)
    assert _get(f"{start().url}/health/ready") == 200


def test_a_second_up_on_the_same_folder_is_refused(start: Start, home: Path, environment: dict[str, str]) -> None:
    up = start()
    second = subprocess.run(
        [sys.executable, "-m", "brim_server", "up", "--data-dir", str(home / "data"), "--port", "0"],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert f"in use by process {up.process.pid}" in second.stderr
    assert _get(f"{up.url}/health/ready") == 200


def test_a_command_reaches_brim_and_its_exit_code_is_ours(home: Path, environment: dict[str, str]) -> None:
    (home / "brim.toml").write_text(_SETUP)
    code = (
        "import os, sys, urllib.request;"
        "names = ('URL', 'API_KEY', 'WORKSPACE', 'ENVIRONMENT');"
        "found = {name: os.environ['BRIM_' + name] for name in names};"
        "path = f\"/v1/completion-batch/{found['WORKSPACE']}/{found['ENVIRONMENT']}\";"
        "asked = urllib.request.Request(found['URL'] + path, headers={'x-api-key': found['API_KEY']});"
        "print(urllib.request.urlopen(asked).read().decode()); sys.exit(7)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "brim_server", "up", "--data-dir", str(home / "data"), "--port", "0",
         "--config", str(home / "brim.toml"), "--", sys.executable, "-c", code],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout) == {"data": [], "hasMore": False, "nextAfter": None}
    assert users_of(home) == []


def test_a_demonstration_brings_its_provider_and_its_key_and_leaves_no_folder(
    home: Path, environment: dict[str, str]
) -> None:
    code = (
        "import os, urllib.request;"
        "sent = urllib.request.Request(os.environ['BRIM_URL'] + '/v1/completion-batch/'"
        " + os.environ['BRIM_WORKSPACE'] + '/' + os.environ['BRIM_ENVIRONMENT'],"
        ' data=b\'{"type": "SYNC", "items": [{"resourceId": "sim-model", "request":'
        ' {"messages": [{"role": "user", "content": "hello"}]}}]}\','
        " headers={'x-api-key': os.environ['BRIM_API_KEY'], 'content-type': 'application/json'});"
        "assert b'batch-completed' in urllib.request.urlopen(sent).read();"
        "print(urllib.request.urlopen(os.environ['BRIM_SIMULATOR_URL'] + '/stats').read().decode())"
    )
    done = subprocess.run(
        [sys.executable, "-m", "brim_server", "up", "--demo", "--port", "0", "--", sys.executable, "-c", code],
        cwd=_ROOT,
        env={**environment, "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["admitted"] == 1
    assert list(home.iterdir()) == []


def test_applying_the_same_set_up_again_changes_nothing(start: Start, home: Path) -> None:
    (home / "brim.toml").write_text(_SETUP)
    first = start()  # in the folder of brim.toml, which needs no naming there
    first.process.send_signal(signal.SIGTERM)
    assert first.process.stdout is not None
    said = first.process.stdout.read()
    assert first.process.wait(20) == 0
    assert "export BRIM_API_KEY=brim_" in said, "the made key is shown at the first start"
    [ids] = [line for line in said.splitlines() if line.startswith("  export BRIM_WORKSPACE=")]
    second = start("--config", str(home / "brim.toml"))
    second.process.send_signal(signal.SIGTERM)
    assert second.process.stdout is not None
    said_again = second.process.stdout.read()
    assert "brim_" not in said_again
    assert ids in said_again.splitlines(), "how to reach it is told at every start"
    assert second.process.wait(20) == 0


def test_doctor_finds_a_running_up_well(start: Start, home: Path, environment: dict[str, str]) -> None:
    start()

    def doctor() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "brim_server", "doctor", "--data-dir", str(home / "data")],
            cwd=home,  # another folder than that of `up`: what it looks at does not follow ours
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    until(lambda: doctor().returncode == 0, "all is well")
    lines = doctor().stdout.splitlines()
    assert [line.partition(":")[0].split(maxsplit=1)[1] for line in lines] == [
        "redis",
        "eviction policy",
        "postgres",
        "migrations",
        "workers",
        "queues",
        "set-up",
        "secrets",
        "connections",
        "files",
    ]


def test_a_batch_is_exported_beside_a_running_up(
    start: Start, home: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    (home / "brim.toml").write_text(f'{_SETUP}key = "env:TEST_KEY"\n')
    environment["TEST_KEY"] = "a-key-of-this-test-alone"
    up = start()
    with httpx.Client(base_url=up.url, headers={"x-api-key": environment["TEST_KEY"]}, timeout=30) as client:
        sent = client.post("/v1/files", files={"file": ("in.jsonl", b"no json")}, data={"purpose": "batch"})
        file = sent.raise_for_status().json()
        asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch_id = client.post("/v1/batches", json=asked).raise_for_status().json()["id"]
    exported = subprocess.run(
        [sys.executable, "-m", "brim_server", "export", batch_id, str(tmp_path), "--follow"],
        cwd=_ROOT,
        env={**environment, "BRIM_DATA_DIR": str(home / "data")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / batch_id / "input.jsonl").read_bytes() == b"no json"
    assert json.loads((tmp_path / batch_id / "status.json").read_bytes())["status"] == "failed"


def test_the_embedded_servers_are_children_of_up(start: Start) -> None:
    up = start("--workers", "0")
    own = {psutil.Process(pid).ppid() for pid in family(up.process.pid) if command_line(pid).startswith("brim-redis")}
    assert own == {up.process.pid}
