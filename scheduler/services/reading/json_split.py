"""Takes the long list out of a large JSON object piece by piece, so that no step holds the interpreter's lock for long.

The pieces are guessed and then proved: text is cut where an element seems to begin, and if what surrounds the list is
an object with a list there, and each piece is a list of elements, then all of it is that object with those elements,
because JSON can be read in one way only. Where a guess fails, the answer is None: the caller reads the text as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import msgspec
from msgspec import Raw

from scheduler.domain.errors import BrimError, Malformed
from scheduler.services.reading.json_text import Fields, JsonText, check_utf8, elements_of

WORTH_BYTES = 4 << 20
"""Shorter texts are read as a whole: 4 MB take a few ms."""
EDGE_BYTES = 4 << 20
"""The list begins and ends within so much of the text's own beginning and end."""
PIECE_BYTES = 1 << 20
MOST_GUESSES = 16
"""Per piece: an element's beginning also occurs within texts and nested objects, but not that often in a row."""
MOST_ENDS = 4
"""Of the list: lists of objects may follow it, and each such guess costs a look at all of it."""
_NOTHING = Raw()
_LIST_END = re.compile(rb"\][\s,]*(?:\}|\")")
_FIRST_KEY = re.compile(rb"\s*\{\s*(\"[A-Za-z0-9_]{1,64}\")\s*:")


@dataclass(frozen=True, slots=True)
class SplitObject:
    """An object whose list was taken out. document, fields: of the rest, in which the list is empty."""

    document: JsonText
    fields: Fields
    elements: list[Raw]


def split_list(body: bytes, name: str) -> SplitObject | None:
    """The object `body` with the elements of its field `name`, all parts as their bytes; None when it is short,
    ill-formed or unusual: then nothing is said about it."""
    if len(body) < WORTH_BYTES:
        return None
    opening = re.search(rb"\"%s\"\s*:\s*\[" % re.escape(name.encode()), body[:EDGE_BYTES])
    if opening is None:
        return None
    try:
        check_utf8(body)
    except Malformed:
        return None
    start = opening.end()
    for end in islice(_ends_of_list(body, start), MOST_ENDS):
        rest = _rest(body, name, start, end)
        elements = None if rest is None else _elements(body, start, end)
        if rest is not None and elements is not None:
            return SplitObject(*rest, elements)
    return None


def _ends_of_list(body: bytes, start: int) -> Iterator[int]:
    """Where the list may end, the last place first: brackets after an object that other fields, or nothing, follow."""
    at = body.rfind(b"]", start)
    while at > start and len(body) - at < EDGE_BYTES:
        if _LIST_END.match(body, at) and body[max(start, at - 64) : at].rstrip().endswith(b"}"):
            yield at
        at = body.rfind(b"]", start, at)


def _rest(body: bytes, name: str, start: int, end: int) -> tuple[JsonText, Fields] | None:
    text = body[:start] + body[end:]
    try:
        document = JsonText(text)
        if document.changed:
            # It stands in for what it cannot hold, and does not know what of that the elements hold.
            return None
        fields = document.fields()
    except BrimError:
        return None
    # It must be this list that the field holds, not another of the same name: so one with a mark in it is read back.
    mark = b"%d" % (len(body) + 1)
    try:
        marked = msgspec.json.decode(body[:start] + mark + body[end:], type=Fields)
    except msgspec.DecodeError:
        return None
    if bytes(marked.get(name, _NOTHING)).strip() != b"[%b]" % mark:
        return None
    return document, fields


def _elements(body: bytes, start: int, end: int) -> list[Raw] | None:
    key = _FIRST_KEY.match(body, start, min(end, start + 1024))
    if key is None:
        return None
    begins = re.compile(rb"\}\s*(,)\s*\{\s*%s\s*:" % re.escape(key[1]))
    found: list[Raw] = []
    while start < end:
        piece = _piece(body, start, end, begins)
        if piece is None:
            return None
        elements, start = piece
        found += elements
    return found


def _piece(body: bytes, start: int, end: int, begins: re.Pattern[bytes]) -> tuple[list[Raw], int] | None:
    """The elements from `start` to a place where another begins, and that place; None when no guess held."""
    at = start + PIECE_BYTES
    for _ in range(MOST_GUESSES):
        comma = begins.search(body, at, end) if at < end else None
        cut = end if comma is None else comma.start(1)
        try:
            elements = elements_of(Raw(b"[%b]" % body[start:cut]))
        except msgspec.DecodeError:
            elements = None
        if elements:
            return elements, cut + 1
        if comma is None:
            return None
        at = comma.end()
    return None
