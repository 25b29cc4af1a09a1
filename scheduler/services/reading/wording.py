"""From msgspec's refusals to sentences for callers: each says what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import inspect

from scheduler.services.reading.meant import nearest

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_NAMES: Final[Mapping[str, str]] = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_BOUNDS: Final[Mapping[str, str]] = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_COUNTED: Final[Mapping[str, str]] = {"str": "characters", "array": "elements", "object": "fields"}


def sentence(message: str, choices: Callable[[], list[str]]) -> str:
    """A message of msgspec as what a field must be; ours, and any that nobody knows, are left as they are.

    choices: asked only when the message is about one of several values, or about a field of an object.
    """
    for pattern, worded in _WORDINGS:
        if matched := pattern.fullmatch(message):
            return worded(matched, choices)
    return message


def _type(matched: re.Match[str], _choices: Callable[[], list[str]]) -> str:
    wanted = [_NAMES.get(name, name) for name in matched["wanted"].split(" | ")]
    return f"must be {' or '.join(wanted)}, not {_NAMES.get(matched['got'], matched['got'])}"


def _bound(matched: re.Match[str], _choices: Callable[[], list[str]]) -> str:
    return f"must be {_BOUNDS[matched['sign']]} {matched['bound'].removesuffix('.0')}"


def _length(matched: re.Match[str], _choices: Callable[[], list[str]]) -> str:
    if (matched["sign"], matched["bound"]) == (">=", "1"):
        return "must not be empty"
    return f"must have {_BOUNDS[matched['sign']]} {matched['bound']} {_COUNTED[matched['kind']]}"


def _one_of(matched: re.Match[str], choices: Callable[[], list[str]]) -> str:
    known = choices()
    return f"must be one of {', '.join(known)}, not {matched['given']}" if known else matched[0]


def _unknown(matched: re.Match[str], choices: Callable[[], list[str]]) -> str:
    near = nearest(matched["given"], choices())
    return "is not a known field" if near is None else f"is not a known field; did you mean {near}?"


_WORDINGS: Final = (
    (re.compile(r"Object contains unknown field `(?P<given>.*)`", re.DOTALL), _unknown),
    (re.compile(r"Object missing required field `.*`"), lambda *_: "is required"),
    (re.compile(r"Expected `(?P<wanted>[\w| ]+)`, got `(?P<got>\w+)`"), _type),
    (re.compile(r"Expected `(?:int|float)` (?P<sign>[<>]=?) (?P<bound>[\d.]+)"), _bound),
    (re.compile(r"Expected `(?P<kind>str|array|object)` of length (?P<sign>[<>]=?) (?P<bound>\d+)"), _length),
    (re.compile(r"Expected `str` matching regex .*", re.DOTALL), lambda *_: "holds a character that is not allowed"),
    (re.compile(r"Invalid enum value '?(?P<given>.*?)'?", re.DOTALL), _one_of),
    (re.compile(r"Invalid RFC3339 encoded datetime"), lambda *_: "must be a time, as in 2030-01-31T12:00:00Z"),
    (re.compile(r"Invalid UUID"), lambda *_: "must be a UUID"),
)


def choices_at(kind: Any, path: str) -> list[str]:
    """The values that the type `kind` allows at a path such as "capacity[0].dimension", or the fields of an object
    there; none when it has no such list."""
    found = inspect.type_info(kind)
    for field, index in _STEP.findall(path):
        if field and (struct := _member(found, inspect.StructType)) is not None:
            inner = next((each.type for each in struct.fields if each.encode_name == field), None)
        elif index and (array := _member(found, inspect.ListType)) is not None:
            inner = array.item_type
        else:
            inner = None
        if inner is None:
            return []
        found = inner
    if (literal := _member(found, inspect.LiteralType)) is not None:
        return [str(value) for value in literal.values]
    if (enum := _member(found, inspect.EnumType)) is not None:
        return [str(each.value) for each in enum.cls]
    if (struct := _member(found, inspect.StructType)) is not None:
        return [each.encode_name for each in struct.fields]
    return []


def _member(kind: inspect.Type, wanted: type[Any]) -> Any:
    """The type itself, or its part in a union, without what is only annotated; None when it is of another kind."""
    if isinstance(kind, inspect.Metadata):
        return _member(kind.type, wanted)
    if isinstance(kind, inspect.UnionType):
        return next((found for each in kind.types if (found := _member(each, wanted)) is not None), None)
    return kind if isinstance(kind, wanted) else None
