"""The command line of `brim-server`: which subcommands there are, and what a person sees when one fails."""

import argparse
import errno
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import ValidationError

from brim_server.commands import api, doctor, export, migrate, simulate, up, worker
from brim_server.embedded.refusal import EmbeddedRefused
from brim_server.running.failure import StartFailed
from scheduler.domain.errors import BrimError, Unavailable

_USAGE_ERROR = 2
_MACHINES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
"""What a file can be refused for without a fault of ours: the person needs its name, not our stack."""


def main(argv: Sequence[str]) -> int:
    """Run one subcommand and return the exit code: 0 fine, 1 failed, 2 bad arguments or settings."""
    if argv and argv[0] == "simulate":
        return simulate.run(argv[1:])  # it has its own options and its own --help
    own, command = _split(argv)
    parser = _parser()
    arguments = parser.parse_args(own)
    if command is not None and arguments.run is not up.run:
        parser.error("only `up` takes a command after --")
    arguments.command = command or []
    try:
        code: int = arguments.run(arguments)
    except ValidationError as error:
        return _refuse(_settings_message(error), _USAGE_ERROR)
    except Unavailable as error:
        return _refuse(f"{error}\n  {_servers()}", 1)
    except (EmbeddedRefused, StartFailed, BrimError) as error:
        return _refuse(str(error), 1)
    except OSError as error:
        if error.errno not in _MACHINES or error.filename is None:
            raise
        return _refuse(f"{error.filename}: {error.strerror}", 1)
    except KeyboardInterrupt:
        return 130
    return code


def _split(argv: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Split at the first `--`: what is ours, and the command that a person wants run."""
    words = list(argv)
    if "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="brim-server",
        description="Brim: a capacity-aware scheduler for LLM requests.",
        epilog="Every setting is an environment variable BRIM_…; see docs/operations.md.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"brim-server {importlib.metadata.version('brim-server')}"
    )
    subcommands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    for module in (up, api, worker, migrate, export, doctor):
        summary = (module.__doc__ or "").partition("\n")[0].partition(": ")[2]
        subparser = subcommands.add_parser(module.NAME, help=summary, description=module.__doc__, allow_abbrev=False)
        module.configure(subparser)
        subparser.set_defaults(run=module.run)
    subcommands.add_parser("simulate", help="an OpenAI-shaped provider with true rate limiters", add_help=False)
    return parser


def _settings_message(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = "_".join(str(part) for part in problem["loc"])
        lines.append(f"BRIM_{name.upper()}: {problem['msg']}" if name else problem["msg"])
    return "\n".join(lines)


def _servers() -> str:
    """Say which servers we asked, without what may be secret in their URLs."""
    from scheduler.settings import Settings

    settings = Settings()
    told = []
    for name, url in (("BRIM_DATABASE_URL", settings.database_url), ("BRIM_REDIS_URL", settings.redis_url)):
        parts = urlsplit(url)
        where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        told.append(f"{name} {'is' if name in os.environ else 'is not set, so it is'} {where}")
    return "\n  ".join(told)


def _refuse(message: str, code: int) -> int:
    print(f"brim-server: {message}", file=sys.stderr)
    return code
