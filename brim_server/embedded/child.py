"""One server process: spawned, watched until it is ready, stopped by signals that grow ruder."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brim_server.embedded.account import Account, command_for, switch_for
from brim_server.embedded.lifeline import die_with_parent
from brim_server.embedded.refusal import EmbeddedRefused

_MAX_LOG_BYTES = 10_000_000
_POLL_S = 0.01
_TAIL_LINES = 12


@dataclass(frozen=True, slots=True)
class Spec:
    """How to run one server."""

    name: str
    """For messages: `redis` or `postgres`."""
    executable: Path
    argv: Sequence[str]
    """The whole command line, its first word included; kept short because it is what `ps` shows."""
    cwd: Path
    env: Mapping[str, str]
    log: Path
    death_signal: signal.Signals
    """What the kernel sends when we are killed."""
    stop_signals: Sequence[tuple[signal.Signals, float]]
    """Sent in turn, each with the seconds to wait before the next; SIGKILL follows by itself."""
    inherit_fd: int
    """An open file that the server keeps: the lock of the data folder."""
    account: Account


class Child:
    """A running server process. Spawn it from the main thread (see `lifeline`)."""

    def __init__(self, spec: Spec) -> None:
        """Spawn. Raises EmbeddedRefused when the executable cannot be run."""
        self._spec = spec
        _rotate(spec.log)
        switch = switch_for(spec.account)
        command = command_for(spec.account, spec.argv)
        with spec.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    executable=spec.executable if command[0] == spec.argv[0] else None,
                    cwd=spec.cwd,
                    env=dict(spec.env),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(spec.inherit_fd,),
                    preexec_fn=die_with_parent(spec.death_signal),
                    user=switch.user,
                    group=switch.group,
                    extra_groups=switch.extra_groups,
                )
            except OSError as error:
                raise EmbeddedRefused(f"{spec.name} could not be started: {error}") from error

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code (negative: the signal that ended it), or None while it runs."""
        return self._process.poll()

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Ask `ready` every 10 ms until it says yes.

        Raises EmbeddedRefused, with the end of the server's log, when it exits before or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.exit_code() is not None:
                raise EmbeddedRefused(self._complaint(f"ended at start with code {self.exit_code()}"))
            if time.monotonic() > deadline:
                raise EmbeddedRefused(self._complaint(f"was not ready within {timeout_s:.0f} s"))
            time.sleep(_POLL_S)

    def _complaint(self, what: str) -> str:
        lines = self._spec.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n  ".join([f"{self._spec.name} {what}; the end of {self._spec.log}:", *lines])

    def ask_to_stop(self) -> None:
        """Send the first stop signal without waiting."""
        self._send(self._spec.stop_signals[0][0])

    def wait_stopped(self) -> None:
        """Wait until the server has ended, with ruder signals when it takes too long."""
        for (_, patience_s), following in zip(
            self._spec.stop_signals,
            [*(name for name, _ in self._spec.stop_signals[1:]), signal.SIGKILL],
            strict=True,
        ):
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self._send(following)
            else:
                return
        self._process.wait()

    def _send(self, what: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(what)


def _rotate(log: Path) -> None:
    log.parent.mkdir(mode=0o700, exist_ok=True)
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        os.replace(log, log.with_suffix(".log.1"))
