"""Processes that are started again, and how they are stopped."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from brim_server.running.fleet import Member, stop_members
from tests.polling import eventually
from tests.processes import alive

# Writes its pid, then waits; told to stop it drains for `sys.argv[2]` seconds or, with "never", ignores it.
_PROCESS = """
import os, signal, sys, threading
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
told.wait()
if sys.argv[2] == "never":
    signal.pause()
"""

Start = Callable[[str], Member]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    members: list[Member] = []

    def start(drain: str) -> Member:
        command = (sys.executable, "-c", _PROCESS, str(tmp_path / "pids"), drain)
        members.append(Member("test", command, os.environ, None))
        return members[-1]

    yield start
    for member in members:
        member.kill()
        await member.ended()


def _pids(tmp_path: Path) -> list[int]:
    file = tmp_path / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def _started(tmp_path: Path, count: int) -> bool:
    return len(_pids(tmp_path)) == count


async def test_a_dead_process_is_started_again(start: Start, tmp_path: Path) -> None:
    member = start("at-once")
    for count in (1, 2, 3):
        await eventually(partial(_started, tmp_path, count), f"start {count}")
        os.kill(_pids(tmp_path)[-1], signal.SIGKILL)
    await eventually(lambda: member.deaths == 3, "three deaths were seen")
    assert member.last_exit_code == -signal.SIGKILL


async def test_a_stopped_process_may_drain_and_stays_away(start: Start, tmp_path: Path) -> None:
    member = start("at-once")
    await eventually(lambda: _pids(tmp_path), "the start")
    await stop_members([member], 10.0, asyncio.Event())
    assert member.deaths == 0
    assert [alive(pid) for pid in _pids(tmp_path)] == [False]


async def test_a_process_that_does_not_stop_is_killed_when_patience_ends(start: Start, tmp_path: Path) -> None:
    member = start("never")
    await eventually(lambda: _pids(tmp_path), "the start")
    await stop_members([member], 0.1, asyncio.Event())
    assert [alive(pid) for pid in _pids(tmp_path)] == [False]


async def test_a_second_signal_ends_the_patience(start: Start, tmp_path: Path) -> None:
    member = start("never")
    await eventually(lambda: _pids(tmp_path), "the start")
    hurry = asyncio.Event()
    hurry.set()
    started = time.monotonic()
    await stop_members([member], 40.0, hurry)
    assert time.monotonic() - started < 20
    assert [alive(pid) for pid in _pids(tmp_path)] == [False]


async def test_a_process_stopped_while_it_waits_for_its_next_start_stays_away() -> None:
    member = Member("test", (sys.executable, "-c", "raise SystemExit(3)"), os.environ, None)
    await eventually(lambda: member.deaths, "the first death")
    await stop_members([member], 10.0, asyncio.Event())
    assert member.last_exit_code == 3
