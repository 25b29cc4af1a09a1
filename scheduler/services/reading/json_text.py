"""Reading JSON so that the parts that are not ours keep every byte: they stay slices of the text as it came.

The whole text is checked once (encoding, syntax); after that its parts can be decoded one by one, in small
steps, by whoever needs them. No step holds the interpreter's lock for long: 100 MB are scanned in about 50
ms.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

import msgspec

from scheduler.domain.errors import Invalid, Malformed
from scheduler.services.reading.problems import Problems

_STEP_BYTES = 1 << 20
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_GZIP = b"\x1f\x8b"
_SECOND_LINE = re.compile(rb"\}[ \t\r]*\n[ \t\r\n]*\{")
_PRIVATE_USE = range(0xE000, 0xF900)
Fields = dict[str, msgspec.Raw]

_fields_decoder = msgspec.json.Decoder(Fields)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])


class JsonText:
    """A JSON text that is known to be well-formed UTF-8. Raises Malformed when it is not.

    Lone surrogates (half an emoji, as `\\ud83d`) are legal JSON that no Unicode text can hold and our decoder
    refuses. While we work each is replaced by an escape of the same length that occurs nowhere else in the
    text; `bytes_of` gives the original bytes back.
    """

    __slots__ = ("_hidden", "text")

    def __init__(self, body: bytes) -> None:
        check_utf8(body)
        self._hidden: dict[bytes, bytes] = {}
        self.text = body
        try:
            well_formed(body)
        except Malformed:
            if b"\\ud" not in body and b"\\uD" not in body:
                raise
            self._hide_surrogates()
            well_formed(self.text)

    def fields(self) -> Fields:
        """The top-level object by field. Raises Invalid when the text is something else."""
        return fields_of(self.text)

    @property
    def changed(self) -> bool:
        """Whether something in it had to be hidden."""
        return bool(self._hidden)

    def bytes_of(self, raw: msgspec.Raw) -> bytes:
        """The original bytes of a part."""
        part = bytes(raw)
        for stand_in, original in self._hidden.items():
            if stand_in in part:
                part = part.replace(stand_in, original)
        return part

    def holds_surrogate(self, text: str) -> bool:
        """Whether a decoded text of this document had a lone surrogate: it cannot be stored as text."""
        return any(chr(int(stand_in[2:], 16)) in text for stand_in in self._hidden)

    def _hide_surrogates(self) -> None:
        stand_ins = (b"\\u%04x" % point for point in _PRIVATE_USE)
        body = self.text
        chosen: dict[bytes, bytes] = {}

        def replaced(matched: re.Match[bytes]) -> bytes:
            if matched[1] is None:
                return matched[0]
            if matched[0] not in chosen:
                free = next((each for each in stand_ins if each not in body), None)
                if free is None:
                    raise Malformed("The body holds too many different lone surrogates.")
                chosen[matched[0]] = free
            return chosen[matched[0]]

        self.text = _ESCAPES.sub(replaced, body)
        self._hidden = {stand_in: original for original, stand_in in chosen.items()}


def check_utf8(body: bytes) -> None:
    """Raise Malformed unless the bytes are UTF-8; in steps, so that other threads get their turn."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    try:
        for start in range(0, len(body), _STEP_BYTES):
            decoder.decode(view[start : start + _STEP_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        if bytes(view[:2]) == _GZIP:
            raise Malformed("The body is gzip: say so, with Content-Encoding: gzip.") from None
        raise Malformed("The body is not valid UTF-8.") from None


def well_formed(text: bytes) -> None:
    """Raise Malformed unless the text is one JSON value."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        lines = ""
        if "trailing characters" in str(error) and _SECOND_LINE.search(text):
            lines = " It looks like one JSON value a line: that is Content-Type: application/x-ndjson."
        raise Malformed(f"The body is not valid JSON: {error}.{lines}") from None
    except RecursionError:
        raise Malformed("The body is nested too deeply.") from None


def fields_of(text: bytes | msgspec.Raw) -> Fields:
    """An object by field, each value as its bytes. Raises Invalid when it is no object."""
    try:
        return _fields_decoder.decode(text)
    except msgspec.ValidationError:
        raise Invalid("The body must be a JSON object.") from None


def elements_of(text: msgspec.Raw) -> list[msgspec.Raw] | None:
    """The elements of a list, each as its bytes; None when it is no list."""
    try:
        return _list_decoder.decode(text)
    except msgspec.ValidationError:
        return None


def is_object(raw: msgspec.Raw) -> bool:
    """Whether a well-formed part is an object."""
    return bytes(memoryview(raw)[:1]) == b"{" or bytes(raw).lstrip()[:1] == b"{"


def is_null(raw: msgspec.Raw) -> bool:
    """Whether a well-formed part is null."""
    return len(memoryview(raw)) < 64 and bytes(raw).strip() == b"null"


def decoded(body: bytes, kind: Any) -> Any:
    """A small body of ours as a msgspec type. Raises Malformed, or Invalid naming the field."""
    text = JsonText(body)
    problems = Problems()
    try:
        return msgspec.json.decode(text.text, type=kind)
    except msgspec.ValidationError as error:
        problems.add_decoding(error, kind)
    problems.raise_if_any()
    raise AssertionError("unreachable")
