"""Named SQL from the .sql files beside this module."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_statements(file: str) -> Mapping[str, str]:
    """All statements of `file` (without its ending) by name, each under its header, which shows in server logs.

    Raises ValueError for a file without names, with text before the first, or with a name used twice.
    """
    head, *parts = _NAME.split(files("scheduler.store").joinpath(f"{file}.sql").read_text(encoding="utf-8"))
    if head.strip() or not parts:
        raise ValueError(f"{file}.sql must begin with '-- name: …'")
    names = parts[::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{file}.sql uses a name twice")
    return {
        name: f"-- name: {name}{body.rstrip().removesuffix(';')}" for name, body in zip(names, parts[1::2], strict=True)
    }
