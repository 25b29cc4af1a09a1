"""Checking a JSONL file of batch requests: pure, synchronous, one line in memory at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from .errors import InvalidJsonl
from .lines import LineSplitter

DEFAULT_MAX_BYTES = 104_857_600
DEFAULT_MAX_LINES = 50_000
DEFAULT_MAX_CUSTOM_ID_CHARS = 64
_READ_BYTES = 1 << 20
# What JSON itself calls white space, and nothing else: a line holding only U+00A0 is no blank line.
_JSON_SPACE = b" \t\r"

Source = str | os.PathLike[str] | BinaryIO | Iterable[bytes]


@dataclass(frozen=True, slots=True)
class ValidatedJsonl:
    """What a valid file holds: `line_count` non-blank lines, and `bytes` with blank lines and line ends."""

    line_count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Rules:
    max_custom_id_chars: int
    require_method: bool
    require_url: bool
    require_body: bool
    require_model: bool


def validate_jsonl(
    source: Source,
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    max_lines: int = DEFAULT_MAX_LINES,
    max_custom_id_chars: int = DEFAULT_MAX_CUSTOM_ID_CHARS,
    require_method: bool = False,
    require_url: bool = False,
    require_body: bool = True,
    require_model: bool = True,
) -> ValidatedJsonl:
    """Check that `source` is a JSONL file of batch requests; return its counts.

    `source` is a path, a binary file (read from where it stands, left open) or an iterable of byte chunks cut
    anywhere. Blank lines are skipped but counted in the 1-based line numbers. Every other line must be a JSON
    object with a string `custom_id` (unique, at most `max_custom_id_chars` characters) and an object `body`
    with a string `model` (`require_body` and `require_model` can drop that), and a non-empty string `method`
    or `url` where `require_method` or `require_url` ask for it. A limit is the largest value that passes.
    One line is held in memory at a time, whole.

    Raises InvalidJsonl at the first fault, naming its line; OSError when the file cannot be read.
    """
    rules = _Rules(max_custom_id_chars, require_method, require_url, require_body, require_model)
    size = _Size(max_bytes)
    seen: set[str] = set()
    line_count = 0
    for number, line in enumerate(_lines(size.count(_chunks(source))), start=1):
        if not line.strip(_JSON_SPACE):
            continue
        line_count += 1
        if line_count > max_lines:
            raise InvalidJsonl(f"File exceeds maximum of {max_lines} lines")
        try:
            _check_line(line, rules, seen)
        except _BadLine as fault:
            raise InvalidJsonl(f"Line {number}: {fault}") from None
    if line_count == 0:
        raise InvalidJsonl("File is empty")
    return ValidatedJsonl(line_count=line_count, bytes=size.bytes)


class _BadLine(Exception):
    """Why one line is refused, without its number."""


class _Size:
    """Counts the bytes that pass and stops where they go over.

    What lies before that place still passes, so the first fault in the file's own order is the one reported,
    however the chunks were cut.
    """

    def __init__(self, max_bytes: int) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes

    def count(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.bytes += len(chunk)
            over = self.bytes - self._max_bytes
            if over > 0:
                yield chunk[: len(chunk) - over]
                raise InvalidJsonl(f"File exceeds maximum size of {self._max_bytes} bytes")
            yield chunk


def _chunks(source: Source) -> Iterator[bytes]:
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield from iter(lambda: file.read(_READ_BYTES), b"")
        return
    read: Callable[[int], bytes] | None = getattr(source, "read", None)
    if read is not None:
        yield from iter(lambda: read(_READ_BYTES), b"")
        return
    if isinstance(source, bytes | bytearray | memoryview):
        # Iterating bytes gives numbers; the whole content is plainly meant as the file's.
        for start in range(0, len(source), _READ_BYTES):
            yield bytes(source[start : start + _READ_BYTES])
        return
    yield from source


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, without their line feeds, wherever the chunks were cut; none after a final line feed."""
    splitter = LineSplitter()
    for chunk in chunks:
        yield from splitter.push(chunk)
    rest = splitter.rest()
    if rest:
        yield rest


def _check_line(line: bytes, rules: _Rules, seen: set[str]) -> None:
    entry = parse_json_line(line, _BadLine)
    if not isinstance(entry, dict):
        raise _BadLine("expected JSON object")
    custom_id = entry.get("custom_id")
    if not isinstance(custom_id, str):
        raise _BadLine("missing or non-string 'custom_id'")
    if len(custom_id) > rules.max_custom_id_chars:
        raise _BadLine(f"custom_id exceeds maximum length of {rules.max_custom_id_chars} characters")
    if custom_id in seen:
        raise _BadLine(f"duplicate custom_id '{custom_id}'")
    seen.add(custom_id)
    for field, required in (("method", rules.require_method), ("url", rules.require_url)):
        if required and not (isinstance(entry.get(field), str) and entry[field]):
            raise _BadLine(f"missing or non-string '{field}'")
    _check_body(entry.get("body"), rules)


def _check_body(body: object, rules: _Rules) -> None:
    if not isinstance(body, dict):
        if rules.require_body:
            raise _BadLine("missing or non-object 'body'")
        return
    if rules.require_model and not isinstance(body.get("model"), str):
        raise _BadLine("body missing 'model' field")


def parse_json_line(line: bytes, error: type[Exception]) -> Any:
    """One line's JSON value, strictly: UTF-8, and no NaN or Infinity. Raises `error("invalid JSON: …")`."""
    try:
        return json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise error("invalid JSON: nested too deeply") from None
    except ValueError as fault:
        # JSONDecodeError, UnicodeDecodeError, and the interpreter's limit on the digits of a number.
        raise error(f"invalid JSON: {fault}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
