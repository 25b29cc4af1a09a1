"""Log lines: an event in dotted past, and one name for one thing, so that a search for a batch finds all of it."""

import ast
from collections.abc import Iterator

from tests.architecture.tree import SERVER_PACKAGES, name_of, python_files

_OTHER_NAMES = {"batch": "batch_id", "resource": "resource_id", "delivery": "delivery_id", "problem": "reason"}


def _lines() -> Iterator[tuple[str, ast.Call]]:
    """(place, call) of every line that is logged."""
    for path in python_files(*SERVER_PACKAGES):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="_log")), args=[_, *_]):
                    yield f"{name_of(path)}:{node.lineno}", node


def test_events_are_dotted() -> None:
    events = [(place, call.args[0].value) for place, call in _lines() if isinstance(call.args[0], ast.Constant)]
    assert len(events) > 50
    assert [(place, event) for place, event in events if "." not in str(event)] == []


def test_one_thing_has_one_name() -> None:
    named = [(place, each.arg) for place, call in _lines() for each in call.keywords if each.arg in _OTHER_NAMES]
    assert [f"{place}: {_OTHER_NAMES[name]}, not {name}" for place, name in named] == []
