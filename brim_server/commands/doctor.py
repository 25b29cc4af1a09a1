"""brim-server doctor: check Redis, its eviction policy, Postgres, migrations, workers and queues.

Prints one line a check and ends with 1 when something is wrong. Without BRIM_REDIS_URL and BRIM_DATABASE_URL
it looks at the running `up` of the data folder.
"""

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from setproctitle import setproctitle

if TYPE_CHECKING:
    from brim_server.running.checkup import Finding

NAME = "doctor"
_SERVERS = frozenset({"BRIM_REDIS_URL", "BRIM_DATABASE_URL"})


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, help="folder of a running `up` (BRIM_DATA_DIR, else .brim)"
    )
    parser.add_argument(
        "--this-host",
        action="store_true",
        help="check only that a worker of this host gives signs of life (a container's health check)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Check everything and return 0 when all is well, otherwise 1."""
    setproctitle("brim-server doctor")
    from brim_server.running.beside import beside
    from brim_server.running.checkup import Finding, examine, examine_this_host
    from scheduler.settings import Settings

    up = beside(arguments.data_dir)
    if up.values is None and not _SERVERS & set(os.environ):
        _tell(
            Finding(
                "up",
                False,
                f"none runs in {up.folder.resolve()}, and {' and '.join(sorted(_SERVERS))} are not set;\n"
                "         start `brim-server up`, or name the folder of the one that runs with --data-dir",
            )
        )
        return 1
    check = examine_this_host if arguments.this_host else examine
    findings = asyncio.run(check(Settings(**(up.values or {}))))
    for finding in findings:
        _tell(finding)
    return 0 if all(finding.good for finding in findings) else 1


def _tell(finding: "Finding") -> None:
    print(f"{'ok     ' if finding.good else 'TROUBLE'}  {finding.check}: {finding.detail}")
