"""The command as a process of its own: signals, pipes, and what only a real exit shows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import brim as package
from brim.cli.exit_codes import ExitCode

from .fake_brim import ENVIRONMENT, KEY, WORKSPACE, FakeBrim

CLIENT = Path(package.__file__).parents[1]
_LIMIT_S = 30


def start(brim: FakeBrim, *argv: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(CLIENT),
        "BRIM_URL": brim.url,
        "BRIM_API_KEY": KEY,
        "BRIM_WORKSPACE": WORKSPACE,
        "BRIM_ENVIRONMENT": ENVIRONMENT,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "brim", *argv],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def test_ctrl_c_ends_a_watch_with_130_and_one_line(brim: FakeBrim) -> None:
    brim.never_ends = True
    batch_id = brim.add_batch(3)
    with start(brim, "watch", batch_id, "--json") as process:
        assert process.stdout is not None
        while '"id":2,' not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=_LIMIT_S)
    assert process.returncode == 130
    # The signal may come before event 2 counts as written: then it is repeated, never missed.
    assert re.fullmatch(
        rf"brim: interrupted; the batch runs on\. Go on with: brim watch {batch_id} --json --last-event-id [12]"
        rf"   stop it with: brim cancel {batch_id}\n",
        err,
    )


def test_a_reader_that_leaves_ends_the_command_quietly(brim: FakeBrim) -> None:
    batch_id = brim.add_batch(20_000)
    with start(brim, "results", batch_id) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(_LIMIT_S) == 141
        assert process.stderr.read() == ""


def test_help_and_readme_name_every_exit_code(brim: FakeBrim) -> None:
    with start(brim, "--help") as process:
        shown, _ = process.communicate(timeout=_LIMIT_S)
    codes = {str(int(code)) for code in ExitCode}
    assert set(re.findall(r"\d+(?= [a-z])", shown[shown.index("exit codes:") :])) == codes
    readme = (CLIENT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| (\d+) \|", readme, re.MULTILINE)) == codes
