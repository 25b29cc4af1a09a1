"""The checkout as the rules see it."""

import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SERVER_PACKAGES = frozenset({"api", "brim_server", "lua", "scheduler", "workers"})
"""What the wheel `brim-server` is made of."""


@cache
def pyproject() -> dict[str, Any]:
    """Return the parsed pyproject.toml of the server."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def files_kept() -> tuple[Path, ...]:
    """Return the files of the checkout that git keeps or would keep, as absolute paths."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return tuple(path for name in sorted(listed.split("\0")) if name and (path := ROOT / name).is_file())


def python_files(*folders: str) -> list[Path]:
    """Return the Python files kept below `folders` of the root (all of them without an argument)."""
    return [
        path
        for path in files_kept()
        if path.suffix == ".py" and (not folders or path.relative_to(ROOT).parts[0] in folders)
    ]


def name_of(path: Path) -> str:
    """Return the path as a person writes it."""
    return path.relative_to(ROOT).as_posix()
