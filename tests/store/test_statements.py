"""The named SQL: documented, and used."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from scheduler.store.statements import load_statements

FOLDER = files("scheduler.store")
FILES = sorted(file.name.removesuffix(".sql") for file in FOLDER.iterdir() if file.name.endswith(".sql"))
SOURCES = "".join(file.read_text(encoding="utf-8") for file in FOLDER.iterdir() if file.name.endswith(".py"))


def test_there_is_sql() -> None:
    assert {"batch", "item", "outcome", "setup"} < set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_each_statement_says_what_it_does_and_names_its_parameters(file: str) -> None:
    for name, statement in load_statements(file).items():
        _, what, *rest = statement.splitlines()
        assert re.match(r"-- (?!Params)[\w\"]", what), name
        header = " ".join(line for line in rest if line.startswith("-- "))
        body = "\n".join(line for line in rest if not line.startswith("--"))
        assert ("-- Params:" in header) == ("$1" in body), name


@pytest.mark.parametrize("file", FILES)
def test_each_statement_is_used(file: str) -> None:
    for name in load_statements(file):
        assert f'"{name}"' in SOURCES, f"{file}.sql: {name}"


def test_a_file_without_names_is_refused() -> None:
    with pytest.raises(ValueError, match="must begin with"):
        load_statements("migrations/0001_setup")
