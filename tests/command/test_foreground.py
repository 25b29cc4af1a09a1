"""The command after `--`."""

import asyncio
import os
import sys

import pytest

from brim_server.running.failure import StartFailed
from brim_server.running.foreground import run_command

_ENV = dict(os.environ)


async def test_its_exit_code_is_returned() -> None:
    assert await run_command([sys.executable, "-c", "raise SystemExit(7)"], _ENV, asyncio.Event()) == 7


async def test_it_sees_the_environment_it_is_given() -> None:
    code = "import os; raise SystemExit(0 if os.environ['BRIM_URL'] == 'http://x' else 1)"
    env = {**_ENV, "BRIM_URL": "http://x"}
    assert await run_command([sys.executable, "-c", code], env, asyncio.Event()) == 0


async def test_one_that_a_signal_ends_counts_as_128_and_the_signal() -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    assert await run_command([sys.executable, "-c", code], _ENV, asyncio.Event()) == 137


async def test_it_is_ended_when_we_are_told_to_stop() -> None:
    stop = asyncio.Event()
    stop.set()
    code = "import signal; signal.pause()"
    assert await run_command([sys.executable, "-c", code], _ENV, stop) == 143


async def test_one_that_cannot_be_run_is_named() -> None:
    with pytest.raises(StartFailed, match="no-such-command: No such file"):
        await run_command(["no-such-command"], _ENV, asyncio.Event())
