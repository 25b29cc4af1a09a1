"""What is wrong with an input: all of it at once, each with the field that it is about."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from scheduler.domain.errors import Invalid
from scheduler.services.reading.wording import choices_at, sentence

MOST_SHOWN = 100
"""Problems that one answer lists; the rest is only counted."""
_AT = re.compile(r"^(?P<message>.*?) - at `(?P<path>[^`]*)`$", re.DOTALL)
_NAMED = re.compile(r"(?:unknown|required) field `(?P<field>[^`]*)`")
_OURS = re.compile(r"`(?P<field>[^`]*)` (?P<message>.*)", re.DOTALL)
"""What a body's own check raises: ValueError("`period` must be …") is about its field `period`."""


class Problems:
    """Collects problems; `raise_if_any` turns them into one Invalid with `details["errors"]`."""

    def __init__(self) -> None:
        self._shown: list[dict[str, Any]] = []
        self._count = 0
        self._codes: set[str] = set()

    def __len__(self) -> int:
        return self._count

    @property
    def first(self) -> dict[str, Any] | None:
        """The first problem: field, message, errorCode."""
        return self._shown[0] if self._shown else None

    def add(self, field: str, message: str, *, index: int | None = None, code: str = Invalid.default_code) -> None:
        """Note a problem of a field; index: of the item that it belongs to."""
        self._count += 1
        self._codes.add(code)
        if len(self._shown) < MOST_SHOWN:
            place = {} if index is None else {"index": index}
            self._shown.append({**place, "field": field, "message": message, "errorCode": code})

    def add_decoding(
        self, error: msgspec.ValidationError, kind: Any, field: str = "", *, index: int | None = None
    ) -> None:
        """Note what msgspec refused in `field` (the whole, when empty), which was to be a `kind`."""
        inner, message = located(error, kind)
        self.add(
            f"{field}{inner}" if inner.startswith("[") or not field else _joined(field, inner),
            message,
            index=index,
        )

    def raise_if_any(self) -> None:
        """Raise Invalid when anything was noted. Its code is VALIDATION_ERROR unless all problems share
        another."""
        if self._count:
            raise self._refusal()

    def _refusal(self) -> Invalid:
        first = self._shown[0]
        place = f"items[{first['index']}]" if "index" in first else ""
        named = _joined(place, first["field"])
        summary = f"{named}: {first['message']}" if named else first["message"]
        more = f" (and {self._count - 1} more)" if self._count > 1 else ""
        code = next(iter(self._codes)) if len(self._codes) == 1 else Invalid.default_code
        return Invalid(summary + more, code=code, details={"errors": self._shown, "errorCount": self._count})


def refuse(field: str, message: str) -> Invalid:
    """A VALIDATION_ERROR of one field, as `Problems` raises it."""
    problems = Problems()
    problems.add(field, message)
    return problems._refusal()


def _joined(field: str, inner: str) -> str:
    return ".".join(part for part in (field, inner) if part)


def located(error: msgspec.ValidationError, kind: Any) -> tuple[str, str]:
    """(field path, message) of a msgspec error on the way to a `kind`: "Expected `int`, got `str` - at
    `$.capacity[0].tokens`" gives ("capacity[0].tokens", "must be a whole number, not a string"). A missing or unknown
    field is named by the path too."""
    text = str(error)
    matched = _AT.match(text)
    message = matched["message"] if matched else text
    path = matched["path"].removeprefix("$").removeprefix(".") if matched else ""
    if ours := _OURS.fullmatch(message):
        return _joined(path, ours["field"]), ours["message"]
    named = _NAMED.search(message)
    return (_joined(path, named["field"]) if named else path), sentence(message, lambda: choices_at(kind, path))
