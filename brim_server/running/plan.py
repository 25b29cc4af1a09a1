"""What `up` was asked for, and the environment of its processes."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """The arguments of `up`."""

    config: Path | None
    data_dir: Path
    temporary_data: bool
    """The folder was made for this run and goes with it."""
    host: str
    port: int
    """0: any free one."""
    workers: int
    demo: bool
    command: tuple[str, ...]
    """What to run beside Brim; empty: nothing, run until told to stop."""


def brim_command(*words: str) -> tuple[str, ...]:
    """Return the command line that runs a subcommand of this very installation."""
    return (sys.executable, "-m", "brim_server", *words)


def child_environment(overrides: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with `overrides`, such that a child finds this very installation."""
    # The child starts in our working folder, which `python -m` puts before everything else: another folder
    # named brim_server there must not win.
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", **overrides}
