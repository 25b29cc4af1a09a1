"""The ports hold what somebody asks for, and nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.tree import SERVER_PACKAGES, name_of, python_files

_PORTS = "scheduler/ports/"
_BEHIND_THEM = (_PORTS, "scheduler/engine/", "scheduler/store/")


def test_each_method_of_a_port_is_asked_for() -> None:
    asked = {
        node.attr
        for path in python_files(*SERVER_PACKAGES)
        if not name_of(path).startswith(_BEHIND_THEM)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute)
    }
    assert [f"{port}.{method}" for port, method in _promised() if method not in asked] == []


def _promised() -> Iterator[tuple[str, str]]:
    """(class, method) of every port."""
    for path in python_files("scheduler"):
        if not name_of(path).startswith(_PORTS):
            continue
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases):
                for each in node.body:
                    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                        yield node.name, each.name


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_rule_sees_the_ports() -> None:
    assert {("Engine", "claim"), ("ParkingStore", "park")} <= set(_promised())
