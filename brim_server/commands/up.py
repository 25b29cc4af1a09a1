"""brim-server up: run everything in one command: Redis, Postgres, the API and the workers.

With `-- COMMAND` after the options it runs COMMAND beside Brim, with BRIM_URL, BRIM_API_KEY, BRIM_WORKSPACE
and BRIM_ENVIRONMENT set, then stops and ends with COMMAND's exit code.
"""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from setproctitle import setproctitle

from brim_server.running.plan import Plan

NAME = "up"
_CONFIG = Path("brim.toml")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"declarative set-up to apply at start (idempotent); {_CONFIG} where there is one, but not with --demo",
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        type=Path,
        help="folder of data, keys and logs (BRIM_DATA_DIR, else .brim; with --demo a temporary one)",
    )
    parser.add_argument("--host", metavar="H", help="address to listen on (BRIM_HOST, else 127.0.0.1)")
    parser.add_argument("--port", metavar="P", type=_port, help="port, 0 for a free one (BRIM_PORT, else 3000)")
    parser.add_argument("--workers", metavar="N", type=_workers, default=1, help="worker processes (1)")
    parser.add_argument("--demo", action="store_true", help="also run the provider simulator and a set-up that uses it")


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT or the end of the command; a second signal does not wait for the drain."""
    # At once: with the original title, the option --workers would make this process look like a worker.
    setproctitle("brim-server up")
    from brim_server.running.session import Session

    async def session() -> int:
        return await Session(plan_of(arguments)).run()

    return asyncio.run(session())


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Read the plan from the arguments and the environment."""
    given: Path | None = arguments.data_dir
    if given is None and os.environ.get("BRIM_DATA_DIR"):
        given = Path(os.environ["BRIM_DATA_DIR"])
    # A demonstration must not inherit the queues of an earlier one, its report would be wrong.
    temporary = given is None and arguments.demo
    if given is None:
        given = Path(tempfile.mkdtemp(prefix="brim-demo-")) if temporary else Path(".brim")
    port: int | None = arguments.port
    config: Path | None = arguments.config
    if config is None and not arguments.demo and _CONFIG.is_file():
        config = _CONFIG
    return Plan(
        config=config,
        data_dir=given.expanduser().resolve(),
        temporary_data=temporary,
        host=arguments.host or os.environ.get("BRIM_HOST") or "127.0.0.1",
        port=port if port is not None else _port(os.environ.get("BRIM_PORT") or "3000"),
        workers=arguments.workers,
        demo=arguments.demo,
        command=tuple(arguments.command),
    )


def _port(text: str) -> int:
    return _whole_number(text, 65_535)


def _workers(text: str) -> int:
    return _whole_number(text, 256)


def _whole_number(text: str, most: int) -> int:
    if not text.isdecimal() or int(text) > most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {most}")
    return int(text)
