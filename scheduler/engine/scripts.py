"""The Lua scripts: read from the package `lua`, with their includes, and run by SHA with a fall-back to EVAL."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from scheduler.engine.connect import call

INCLUDE = "--@include "


@dataclass(frozen=True, slots=True)
class Script:
    """One verb: its expanded text and the SHA-1 that Redis knows it by."""

    name: str
    text: str
    sha: str

    async def run(self, client: Redis, key: str, *args: Any) -> Any:
        """Run on `key`'s slot. After SCRIPT FLUSH or a failover the text is sent again."""
        try:
            return await call(client, "EVALSHA", self.sha, 1, key, *args)
        except NoScriptError:
            return await call(client, "EVAL", self.text, 1, key, *args)


def expand(name: str, replacements: Mapping[str, str] | None = None) -> str:
    """The text of lua/<name>.lua with each `--@include x` replaced by lua/include/x.lua, also inside includes.

    replacements: other texts for includes by name (tests put a set clock in place of `now`). Read once a process.
    """
    return _expanded(name, tuple(sorted((replacements or {}).items())))


@cache
def _expanded(name: str, replacements: tuple[tuple[str, str], ...]) -> str:
    folder, given = files("lua"), dict(replacements)

    def lines_of(text: str) -> Iterator[str]:
        for line in text.splitlines():
            if line.startswith(INCLUDE):
                include = line.removeprefix(INCLUDE).strip()
                other = given.get(include)
                yield from lines_of(
                    other if other is not None else (folder / "include" / f"{include}.lua").read_text("utf-8")
                )
            else:
                yield line

    return "\n".join(lines_of((folder / f"{name}.lua").read_text("utf-8"))) + "\n"


def script(name: str, replacements: Mapping[str, str] | None = None) -> Script:
    """Build a script by the name of its file."""
    text = expand(name, replacements)
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def names() -> tuple[str, ...]:
    """Every verb, in order of name."""
    return tuple(sorted(f.name.removesuffix(".lua") for f in files("lua").iterdir() if f.name.endswith(".lua")))
