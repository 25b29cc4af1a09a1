"""House rules about files that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, files_kept, name_of, python_files

_MOST_LINES = 400
_FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "models", "misc"}
_MAY_PAUSE = {"tests/polling.py"}
_KEEPS_A_SCHEDULE = "tests/chaos/"  # strikes at planned times: its pauses are what it tests with
_CODE = (".py", ".lua", ".sql", ".toml", ".sh")
# Put together here, so that this file does not break its own rule.
_UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error", "X" * 3)))
_PLACES = re.compile("|".join(("/wo" + "rk/", r"\.\./sha" + "red", "/ro" + "ot/", "py" + r"pi\.(org|io)")))


@pytest.mark.parametrize("suffix", [".py", ".lua", ".sql"])
def test_files_stay_small(suffix: str) -> None:
    lengths = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in files_kept()
        if path.suffix == suffix
    }
    assert {name: length for name, length in lengths.items() if length > _MOST_LINES} == {}


def test_names_say_what_a_file_is_for() -> None:
    assert [name_of(path) for path in python_files() if path.stem in _FORBIDDEN_NAMES] == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        name_of(path) for path in python_files() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_nothing_is_left_for_later() -> None:
    assert _matching(_UNFINISHED, _CODE) == []


def test_nothing_names_the_machine_it_was_written_on() -> None:
    assert _matching(_PLACES, (*_CODE, ".md", ".yml", ".yaml", ".lock", ".json", "")) == []


def test_no_test_sleeps() -> None:
    sleeping = [
        f"{name_of(path)}:{node.lineno}"
        for path in python_files("tests")
        if name_of(path) not in _MAY_PAUSE and not name_of(path).startswith(_KEEPS_A_SCHEDULE)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _is_pause(node)
    ]
    assert sleeping == [], "use tests.polling"


def _is_pause(call: ast.Call) -> bool:
    """Tell whether it calls a `sleep` of some module for a time; `sleep(0)` only lets others run."""
    function = call.func
    named = isinstance(function, ast.Attribute) and function.attr == "sleep"
    yields = bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
    return named and not yields


def _matching(pattern: re.Pattern[str], suffixes: tuple[str, ...]) -> list[str]:
    found = []
    for path in files_kept():
        if path.suffix not in suffixes:
            continue
        for number, line in enumerate(_text(path).splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{name_of(path)}:{number}")
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def test_the_rules_see_the_files() -> None:
    assert ROOT / "Makefile" in files_kept()
