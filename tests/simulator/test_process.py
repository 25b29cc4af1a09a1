"""The simulator as a process."""

import asyncio
import signal
import socket
import sys

import aiohttp
import pytest

from brim_server.simulator import main

RUN = "import sys; from brim_server.simulator import main; sys.exit(main(sys.argv[1:]))"


async def test_it_says_where_it_listens_and_ends_on_sigterm() -> None:
    arguments = ["--port", "0", "--rpm", "5", "--shape", "slices", "--slice-s", "60", "--hang-rate", "1"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
            assert line.startswith("simulator listening on http://127.0.0.1:")
            assert line.endswith("/v1\n")
            base_url = line.split()[-1]
            async with aiohttp.ClientSession() as session:
                body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
                hung = asyncio.create_task(session.post(f"{base_url}/chat/completions", json=body))
                stats_url = base_url.removesuffix("/v1") + "/stats"
                in_flight = 0
                while not in_flight:
                    async with session.get(stats_url) as response:
                        in_flight = (await response.json())["in_flight"]
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
                with pytest.raises(aiohttp.ClientConnectionError):
                    await hung
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--port"),
        (["--port", "0", "--rpm", "0"], "rpm must be between"),
        (["--port", "0", "--shape", "round"], "--shape"),
        (["--port", "0", "--error-rate", "2"], "error_rate must be between"),
        (["--port", "0", "--refuse-status", "200"], "refuse_status must be between"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err


def test_a_port_in_use_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
