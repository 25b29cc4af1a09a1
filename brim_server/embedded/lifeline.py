"""Ties a child process to its parent: its own session, and its end when the parent is killed."""

import ctypes
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: in the child, between fork and exec, nothing may be imported.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    """Return a `preexec_fn` that makes the kernel send `death_signal` when the parent thread ends.

    The kernel looks at the *thread* that forked, so spawn from the main thread. Where the system cannot do
    this (macOS) the function does nothing; a killed parent then leaves its children, which the lock on the
    data folder reports at the next start. Meant together with `start_new_session=True`: a Ctrl-C in the
    terminal then reaches the parent alone, which drains first.
    """

    def in_child() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)

    return in_child
