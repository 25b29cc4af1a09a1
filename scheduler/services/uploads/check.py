"""Checks the lines of an upload, each by itself, in any thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from scheduler.domain.batch import NewItem
from scheduler.domain.errors import BrimError, Invalid, NotAuthorized, NotFound, TooLarge
from scheduler.services.items.check import ItemCheck
from scheduler.services.items.terms import ResourceTerms
from scheduler.services.reading.json_text import JsonText
from scheduler.services.reading.meant import did_you_mean
from scheduler.services.reading.problems import MOST_SHOWN, Problems
from scheduler.services.uploads.lines import Line

_KEPT_BYTES = 4096
_MOST_SEARCHED = 20
"""So much of a bad line is kept, to show what it was."""
UNKNOWN = "AI_RESOURCE_NOT_FOUND"
FORBIDDEN = "API_KEY_RESOURCE_NOT_AUTHORIZED"


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no item. code: why, as errors name it. text: its beginning."""

    line: int
    field: str
    code: str
    message: str
    text: str


Checked = NewItem | BadLine


class _Named(msgspec.Struct, rename="camel"):
    resource_id: str


class UploadCheck:
    """One upload's lines, in one thread at a time."""

    def __init__(self, terms: Mapping[str, ResourceTerms], default_output_tokens: int, most_line_bytes: int) -> None:
        self._check = ItemCheck(JsonText(b"{}"), terms, default_output_tokens, Problems())
        self._most_line_bytes = most_line_bytes
        self._names = {each.resource.name for each in terms.values() if each.allowed}
        self._searched: dict[str, str] = {}

    def check(self, lines: Sequence[Line]) -> list[Checked]:
        """What each line is, in order."""
        return [self._one(line) for line in lines]

    def _one(self, line: Line) -> Checked:
        if line.text is None:
            return BadLine(line.number, "", TooLarge.default_code, f"is longer than {self._most_line_bytes} bytes", "")
        problems = Problems()
        try:
            item = self._check.check_alone(JsonText(line.text), problems)
        except BrimError as error:
            return _bad(line, "", error.code, error.message)
        if item is None:
            shown = problems.first
            if shown is not None:
                return _bad(line, shown["field"], shown["errorCode"], shown["message"])
            name = msgspec.json.decode(line.text, type=_Named).resource_id
            return _bad(line, "resourceId", UNKNOWN, f"There is no resource {name}.{self._meant(name)}")
        if self._check.forbidden and item.resource_id in self._check.forbidden.values():
            name = next(name for name, id_ in self._check.forbidden.items() if id_ == item.resource_id)
            return _bad(line, "resourceId", FORBIDDEN, f"The API key may not use {name}.")
        return item

    def _meant(self, name: str) -> str:
        """Of the first unknown names only: a million bad lines must not cost a search each."""
        if name not in self._searched and len(self._searched) < _MOST_SEARCHED:
            self._searched[name] = did_you_mean(name, self._names)
        return self._searched.get(name, "")


def _bad(line: Line, field: str, code: str, message: str) -> BadLine:
    return BadLine(line.number, field, code, message, (line.text or b"")[:_KEPT_BYTES].decode("utf-8", "replace"))


class Refusals:
    """Collects the bad lines of an upload that they make fail."""

    def __init__(self) -> None:
        self.count = 0
        self._shown: list[BadLine] = []
        self._codes: set[str] = set()

    def add(self, bad: BadLine) -> None:
        """Note one; the first 100 are kept."""
        self.count += 1
        self._codes.add(bad.code)
        if len(self._shown) < MOST_SHOWN:
            self._shown.append(bad)

    def raise_if_any(self) -> None:
        """Raise in the contract's order: too long, invalid, of a resource that does not exist, or may not be used."""
        if not self.count:
            return
        first = self._shown[0]
        named = f"line {first.line}: " + (f"{first.field}: " if first.field else "")
        more = f" (and {self.count - 1} more)" if self.count > 1 else ""
        message = f"{named}{first.message}{more}"
        details: dict[str, Any] = {"errors": [_shown(bad) for bad in self._shown], "errorCount": self.count}
        wrong = self._codes - {UNKNOWN, FORBIDDEN}
        if wrong == {TooLarge.default_code}:
            raise TooLarge(message, details=details)
        if wrong:
            code = next(iter(self._codes)) if self._codes == {"ITEM_EXCEEDS_CAPACITY"} else Invalid.default_code
            raise Invalid(message, code=code, details=details)
        if UNKNOWN in self._codes:
            raise NotFound(message, code=UNKNOWN, details=details)
        raise NotAuthorized(message, code=FORBIDDEN, details=details)


def _shown(bad: BadLine) -> dict[str, Any]:
    return {"line": bad.line, "field": bad.field, "message": bad.message, "errorCode": bad.code}


def placeholder(bad: BadLine, resource_id: UUID) -> NewItem:
    """What stands in a batch for a line that is no item: its request is the beginning of the line, as a text."""
    return NewItem(
        resource_id=resource_id,
        endpoint="/v1/chat/completions",
        request=msgspec.json.encode(bad.text),
        in_tokens=0,
        out_tokens=0,
        custom_id=None,
        metadata=None,
    )
