"""The processes that `up` starts and starts again when they die."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import IO

import structlog

from brim_server.embedded.lifeline import die_with_parent

_log = structlog.get_logger(__name__)
_FIRST_BACK_OFF_S = 0.25
_LONGEST_BACK_OFF_S = 10.0
_HEALTHY_AFTER_S = 20.0


class Member:
    """One process, always running until it is told to stop.

    It dies with us (SIGTERM, so that it drains), and a Ctrl-C of the terminal does not reach it.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], output: IO[bytes] | None) -> None:
        """Start it. `output` takes what it prints; None lets it print where we print."""
        self.name = name
        self.deaths = 0
        self.last_exit_code: int | None = None
        self._command = tuple(command)
        self._env = dict(env)
        self._output = output
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._task = asyncio.create_task(self._keep_running(), name=f"keep-{name}")

    async def _spawn(self) -> asyncio.subprocess.Process:
        # asyncio forks in the thread of the loop, which is our main thread: see `lifeline`.
        return await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )

    async def _keep_running(self) -> None:
        back_off_s = _FIRST_BACK_OFF_S
        while not self._stopping.is_set():
            started = time.monotonic()
            self._process = await self._spawn()
            code = await self._process.wait()
            if self._stopping.is_set():
                return
            self.deaths += 1
            self.last_exit_code = code
            if time.monotonic() - started > _HEALTHY_AFTER_S:
                back_off_s = _FIRST_BACK_OFF_S
            _log.warning("process.died", process=self.name, exit_code=code, restart_in_s=back_off_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), back_off_s)
            back_off_s = min(back_off_s * 2, _LONGEST_BACK_OFF_S)

    def ask_to_stop(self) -> None:
        """Send SIGTERM and start it no more."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL and start it no more."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    async def ended(self) -> None:
        """Wait until the process is gone; only of use after `ask_to_stop` or `kill`."""
        await self._task

    def _signal(self, what: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(what)


async def stop_members(members: Sequence[Member], patience_s: float, hurry: asyncio.Event) -> None:
    """Stop all of them at once; kill what is left after `patience_s`, or at once when `hurry` is set."""
    if not members:
        return
    for member in members:
        member.ask_to_stop()
    hurried = asyncio.create_task(hurry.wait())
    ended = asyncio.create_task(_all_ended(members))
    try:
        await asyncio.wait({ended, hurried}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hurried.cancel()
        if not ended.done():
            for member in members:
                member.kill()
        await ended


async def _all_ended(members: Sequence[Member]) -> bool:
    await asyncio.gather(*(member.ended() for member in members))
    return True
