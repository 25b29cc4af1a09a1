"""Reading the file of `brim submit`: bare request bodies or OpenAI batch lines, in any mixture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidJsonl
from ..jsonl import DEFAULT_MAX_CUSTOM_ID_CHARS, parse_json_line
from ..submission import NewItem

# What each endpoint's body cannot do without.
_REQUIRED_FIELD: Mapping[str, str] = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
    "/v1/responses": "input",
}
ENDPOINTS: Sequence[str] = tuple(_REQUIRED_FIELD)
_SHOWN_FAULTS = 20


class BadLines(InvalidJsonl):
    """Lines that cannot be sent; none of the file was. Each fault is (1-based line number, reason)."""

    def __init__(self, name: str, faults: Sequence[tuple[int, str]]) -> None:
        shown = [f"  line {number}: {reason}" for number, reason in faults[:_SHOWN_FAULTS]]
        if len(faults) > _SHOWN_FAULTS:
            shown.append(f"  and {len(faults) - _SHOWN_FAULTS} more")
        count = f"{len(faults)} bad line{'' if len(faults) == 1 else 's'}"
        super().__init__("\n".join([f"{name}: {count}; nothing was sent", *shown]))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class ReadFile:
    """The items of a file, and the line from which each came."""

    items: Sequence[NewItem]
    line_numbers: Sequence[int]


class _BadLine(Exception):
    """Why one line cannot be sent."""


def read_submission(lines: Iterable[bytes], name: str, *, resource: str, endpoint: str) -> ReadFile:
    """The items of all lines; blank ones are skipped. `name` is the file's, for messages.

    A line with a `body` object and no field of its own endpoint is an OpenAI batch line
    `{custom_id, method, url, body}`; any other object is the body itself, for `endpoint`.
    Raises BadLines with every fault of the file, and when it holds no request at all.
    """
    items: list[NewItem] = []
    numbers: list[int] = []
    faults: list[tuple[int, str]] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = _read_line(line, resource, endpoint)
            if item.custom_id is not None:
                earlier = line_of.setdefault(item.custom_id, number)
                if earlier != number:
                    raise _BadLine(f"custom_id {item.custom_id!r} was used in line {earlier} already")
        except _BadLine as fault:
            faults.append((number, str(fault)))
        else:
            items.append(item)
            numbers.append(number)
    if faults:
        raise BadLines(name, faults)
    if not items:
        raise BadLines(name, [(1, "the file holds no request")])
    return ReadFile(items, numbers)


def _read_line(line: bytes, resource: str, endpoint: str) -> NewItem:
    entry = parse_json_line(line, _BadLine)
    if not isinstance(entry, dict):
        raise _BadLine("expected a JSON object")
    if "body" in entry and _REQUIRED_FIELD[endpoint] not in entry:
        return _read_batch_line(entry, resource, endpoint)
    _check_body(entry, endpoint)
    return NewItem(resource, entry, endpoint)


def _read_batch_line(entry: Mapping[str, Any], resource: str, endpoint: str) -> NewItem:
    url = entry.get("url", endpoint)
    if url not in _REQUIRED_FIELD:
        raise _BadLine(f"url must be one of {', '.join(ENDPOINTS)}, got {url!r}")
    method = entry.get("method", "POST")
    if method != "POST":
        raise _BadLine(f"method must be 'POST', got {method!r}")
    custom_id = entry.get("custom_id")
    if custom_id is not None and not (isinstance(custom_id, str) and custom_id):
        raise _BadLine("custom_id must be a non-empty string")
    if custom_id is not None and len(custom_id) > DEFAULT_MAX_CUSTOM_ID_CHARS:
        raise _BadLine(f"custom_id has more than {DEFAULT_MAX_CUSTOM_ID_CHARS} characters")
    body = entry["body"]
    if not isinstance(body, dict):
        raise _BadLine("body must be an object")
    _check_body(body, url)
    return NewItem(resource, body, url, custom_id)


def _check_body(body: Mapping[str, Any], endpoint: str) -> None:
    field = _REQUIRED_FIELD[endpoint]
    if body.get(field) in (None, "", []):
        raise _BadLine(f"{field} is missing or empty (a request for {endpoint})")
