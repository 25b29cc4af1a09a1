"""An upload as multipart/form-data, taken as it comes: the file goes to its draft, small fields are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from scheduler.domain.errors import BadParameter, Malformed, TooLarge
from scheduler.ports.files import Draft

STEP_BYTES = 1 << 18
"""So much is parsed, hashed and written in one go, in a thread."""
MOST_FIELDS = 20
FIELD_BYTES = 4_096
_FILE = "file"
_DRAINED_TIMES = 2


class UploadForm:
    """One form with one file, in the field `file`. fields: the text of all others by name. filename: None until the
    file began. Blocking, hence for threads: `feed` and `finish` raise BadParameter for what is no such form, TooLarge
    for more than `limit_bytes` of file."""

    def __init__(self, content_type: str, draft: Draft, limit_bytes: int) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise BadParameter("The body must be multipart/form-data with a boundary.")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._draft = draft
        self.limit_bytes = limit_bytes
        self._in_file = False
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._field = ""
        self._text = b""
        self._ended = False
        with _readable():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body, cut anywhere."""
        with _readable():
            self._parser.write(piece)

    def finish(self) -> None:
        """The body has ended: all of it must have come."""
        if not self._ended:
            raise BadParameter("The multipart body ends before its last boundary.")

    def _begin_part(self) -> None:
        self._disposition = b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = _text(options.get(b"name", b""), "the name of a field")
        if not name:
            raise BadParameter("Each part of the form needs a name.")
        self._in_file = name == _FILE
        if self._in_file:
            if self.filename is not None:
                raise BadParameter("There may be one file only.", param=_FILE)
            self.filename = _text(options.get(b"filename", b""), "the name of the file")
            return
        if len(self.fields) >= MOST_FIELDS:
            raise BadParameter(f"There may be at most {MOST_FIELDS} fields.")
        self._field, self._text = name, b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            if self._draft.size_bytes + end - start > self.limit_bytes:
                raise TooLarge(f"The file may have at most {self.limit_bytes} bytes.")
            self._draft.write(memoryview(data)[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > FIELD_BYTES:
            raise BadParameter(f"'{self._field}' may have at most {FIELD_BYTES} bytes.", param=self._field)

    def _end_part(self) -> None:
        if not self._in_file:
            self.fields[self._field] = _text(self._text, f"'{self._field}'")

    def _end(self) -> None:
        self._ended = True


async def receive(body: AsyncIterator[bytes], form: UploadForm, silence_s: float) -> None:
    """Feed a whole body to a form, in bounded memory. Raises what the form raises, and Malformed when nothing comes for
    `silence_s`; a refused body is read on and thrown away up to about the form's limit, so that a client that still
    sends sees the answer."""
    step = bytearray()
    taken = 0
    try:
        while (piece := await _next(body, silence_s)) is not None:
            taken += len(piece)
            step += piece
            if len(step) >= STEP_BYTES:
                await asyncio.to_thread(form.feed, bytes(step))
                step.clear()
        await asyncio.to_thread(form.feed, bytes(step))
        form.finish()
    except (BadParameter, TooLarge):
        await _drain(body, form.limit_bytes * _DRAINED_TIMES - taken, silence_s)
        raise


async def _drain(body: AsyncIterator[bytes], most_bytes: int, silence_s: float) -> None:
    while most_bytes >= 0 and (piece := await _next(body, silence_s)) is not None:
        most_bytes -= len(piece)


async def _next(body: AsyncIterator[bytes], silence_s: float) -> bytes | None:
    try:
        async with asyncio.timeout(silence_s):
            return await anext(body, None)
    except TimeoutError:
        raise Malformed("The upload was silent for too long and was given up.") from None


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise BadParameter("The body is no well-formed multipart/form-data.") from error


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadParameter(f"{what} must be UTF-8.") from None
