"""brim-server doctor: check Redis, its eviction policy, Postgres, migrations, workers and queues.

Prints one line a check and ends with 1 when something is wrong. Without BRIM_REDIS_URL and BRIM_DATABASE_URL
it looks at the running `up` of the data folder.
"""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

NAME = "doctor"


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
    from brim_server.running.checkup import examine, examine_this_host
    from brim_server.running.published import read_published
    from scheduler.settings import Settings

    values: dict[str, Any] = {}
    urls = read_published(arguments.data_dir or Path(os.environ.get("BRIM_DATA_DIR") or ".brim"))
    if urls is not None:
        if arguments.data_dir is not None or "BRIM_REDIS_URL" not in os.environ:
            values["redis_url"] = urls.redis_url
        if arguments.data_dir is not None or "BRIM_DATABASE_URL" not in os.environ:
            values["database_url"] = urls.database_url
    check = examine_this_host if arguments.this_host else examine
    findings = asyncio.run(check(Settings(**values)))
    for finding in findings:
        print(f"{'ok     ' if finding.good else 'TROUBLE'}  {finding.check}: {finding.detail}")
    return 0 if all(finding.good for finding in findings) else 1
