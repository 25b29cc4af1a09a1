"""A file through the command `brim batch run`, while everything that can die dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.stack import KEY, Stack, simulator, single, stack
from tests.acceptance.conftest import WITHIN_S
from tests.polling import eventually
from tests.processes import command_line, family

COUNT = 1_500


def lines() -> bytes:
    """The input."""
    some = (
        {
            "custom_id": f"c{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "model",
                "messages": [{"role": "user", "content": f"Say the number {number}."}],
                "max_tokens": 16,
            },
        }
        for number in range(COUNT)
    )
    return b"".join(json.dumps(each).encode() + b"\n" for each in some)


async def start(brim: Stack, source: Path, output: Path) -> asyncio.subprocess.Process:
    """The command as a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "brim",
        "batch",
        "run",
        str(source),
        "-o",
        str(output),
        env={**os.environ, "BRIM_URL": brim.base.partition("/v1/")[0], "BRIM_API_KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def named(brim: Stack, word: str) -> list[int]:
    """The processes of the stack whose command line has the word."""
    return [pid for pid in family(brim.pid) if word in command_line(pid)]


def ids(path: Path) -> list[str]:
    """The custom ids of a file of results; every line must be whole."""
    text = path.read_bytes()
    assert text.endswith(b"\n")
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


def finished(spool: Path) -> int:
    """Lines that the spool tells of."""
    return sum(json.loads(path.read_bytes())["completed_lines"] for path in spool.glob("*/status.json"))


@pytest.mark.slow(13)
@pytest.mark.timeout(180)
async def test_a_file_comes_through_ctrl_c_and_kills_with_each_line_once(tmp_path: Path) -> None:
    source, output, spool = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "spool"
    source.write_bytes(lines())
    settings = {"BRIM_LEASE_MS": "2000", "BRIM_SPOOL_DIR": str(spool)}
    async with (
        simulator("--latency-ms", "300") as origin,
        stack(single("openai-compatible", f"{origin}/v1", "max_in_flight = 200"), workers=2, settings=settings) as brim,
    ):
        first = await start(brim, source, output)
        await eventually(lambda: finished(spool) >= 150, "some of it is done", WITHIN_S)
        first.send_signal(signal.SIGINT)
        _, said = await first.communicate()
        assert (first.returncode, b"brim batch cancel batch_" in said) == (130, True)
        for pid in named(brim, "worker"):
            os.kill(pid, signal.SIGKILL)
        second = await start(brim, source, output)
        await eventually(lambda: finished(spool) >= 500, "more of it is done", WITHIN_S)
        os.kill(named(brim, "api")[0], signal.SIGKILL)
        told, said = await asyncio.wait_for(second.communicate(), WITHIN_S)
        assert second.returncode == 0, said.decode()
        assert f"completed: {COUNT:,} of {COUNT:,} completed, 0 failed".encode() in told
        await eventually(lambda: finished(spool) == COUNT, "the spool is whole", WITHIN_S)
    wanted = Counter({f"c{number}": 1 for number in range(COUNT)})
    assert Counter(ids(output)) == wanted
    (folder,) = spool.iterdir()
    assert Counter(ids(folder / "output.jsonl")) == wanted
    assert json.loads((folder / "status.json").read_bytes())["status"] == "completed"
    assert not (tmp_path / ".out.jsonl.brim-run").exists()
