"""A parent that is killed leaves nothing behind, and the next one finds everything."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from brim_server.embedded import EmbeddedServers
from tests.polling import until
from tests.processes import alive, family, users_of

_ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties children to a killed parent")


def _hold(data_dir: Path) -> tuple["subprocess.Popen[str]", dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.embedded.holder", str(data_dir)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


async def test_a_killed_parent_leaves_no_process_and_all_data(data_dir: Path) -> None:
    process, report = _hold(data_dir)
    with process:
        connection = await asyncpg.connect(report["database_url"])
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        await connection.close()
        pids = [*report["pids"], *(pid for server in report["pids"] for pid in family(server))]
        process.kill()
    # At once, while its servers may still be ending: the start waits for them.
    async with EmbeddedServers(data_dir) as servers:
        connection = await asyncpg.connect(servers.database_url)
        assert await connection.fetchval("SELECT number FROM kept") == 7
        await connection.close()
        assert not [pid for pid in pids if alive(pid)]


def test_a_parent_that_is_told_to_stop_stops_its_servers(data_dir: Path) -> None:
    process, report = _hold(data_dir)
    with process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(15) == 0
    assert not [pid for pid in report["pids"] if alive(pid)]


def test_an_interrupt_of_the_terminal_reaches_the_parent_alone(data_dir: Path) -> None:
    process, report = _hold(data_dir)
    with process:
        for pid in report["pids"]:
            assert os.getsid(pid) == pid != os.getsid(process.pid)
        process.kill()
    until(lambda: not users_of(data_dir), "no server is left")
