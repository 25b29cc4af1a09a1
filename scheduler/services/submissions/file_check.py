"""Checks the lines of a submission's input, each by itself and among the others, in any thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw

from scheduler.domain.batch import Endpoint, NewItem
from scheduler.domain.errors import BrimError, Malformed
from scheduler.domain.submission import LineFault
from scheduler.services.items.check import ItemBody, ItemCheck
from scheduler.services.items.terms import ResourceTerms
from scheduler.services.reading.json_text import Fields, JsonText, fields_of, is_null, is_object
from scheduler.services.reading.problems import Problems
from scheduler.services.uploads.lines import Line

MOST_CUSTOM_ID_CHARS = 64
MOST_FAULTS = 500
"""So many bad lines are listed; beyond, they are only counted as the reason why nothing runs."""
_MOST_MODEL_CHARS = 512
_SHOWN_MODEL_CHARS = 100
_MOST_MESSAGE_CHARS = 500
_MISSING = "missing_required_parameter"
_INVALID = "invalid_request"

Checked = NewItem | LineFault


class FileCheck:
    """One input's lines, in one thread at a time. Keeps the custom ids that it saw: 64 characters a line at most."""

    def __init__(
        self,
        endpoint: Endpoint,
        terms: Mapping[str, ResourceTerms],
        default_output_tokens: int,
        most_lines: int,
        most_line_bytes: int,
    ) -> None:
        self._endpoint = endpoint
        self._check = ItemCheck(JsonText(b"{}"), terms, default_output_tokens, Problems())
        self._most_lines = most_lines
        self._most_line_bytes = most_line_bytes
        self._seen: set[str] = set()
        self.lines = 0
        self.models: set[str] = set()

    @property
    def too_many(self) -> bool:
        """There are more lines than a submission may have: looking at further ones is pointless."""
        return self.lines > self._most_lines

    def check(self, lines: Sequence[Line]) -> list[Checked]:
        """What each line is, in order."""
        self.lines += len(lines)
        return [] if self.too_many else [self._one(line) for line in lines]

    def ends(self) -> LineFault | None:
        """What is wrong with the input as a whole."""
        if self.too_many:
            message = f"The batch input file contains more than the {self._most_lines} requests that a batch may have."
            return LineFault("too_many_tasks", message, None, None)
        if not self.lines:
            return LineFault("empty_file", "The batch input file is empty.", None, None)
        return None

    def _one(self, line: Line) -> Checked:
        try:
            if line.text is None:
                raise _Fault(_INVALID, f"This line is longer than {self._most_line_bytes} bytes.", None)
            return self._item(line.text)
        except _Fault as fault:
            return LineFault(fault.code, fault.message[:_MOST_MESSAGE_CHARS], fault.param, line.number)

    def _item(self, text: bytes) -> NewItem:
        try:
            document = JsonText(text)
        except Malformed:
            raise _Fault("invalid_json_line", "This line is not parseable as valid JSON.", None) from None
        if not is_object(Raw(document.text)):
            raise _Fault(_INVALID, "Each line must be a JSON object.", None)
        fields = document.fields()
        custom_id = self._custom_id(fields)
        method = _text(fields, "method", "method")
        if method.upper() != "POST":
            raise _Fault(_INVALID, "The method of each request must be POST.", "method")
        if _text(fields, "url", "url") != self._endpoint:
            message = "The URL provided for this request does not match the batch endpoint."
            raise _Fault("url_mismatch", message, "url")
        body = _required(fields, "body", "body")
        if not is_object(body):
            raise _Fault(_INVALID, "'body' must be an object.", "body")
        return self._request(document, custom_id, body)

    def _custom_id(self, fields: Fields) -> str:
        custom_id = _text(fields, "custom_id", "custom_id")
        if len(custom_id) > MOST_CUSTOM_ID_CHARS:
            message = f"custom_id exceeds maximum length of {MOST_CUSTOM_ID_CHARS} characters"
            raise _Fault(_INVALID, message, "custom_id")
        if custom_id in self._seen:
            message = "The custom_id for this request is a duplicate of another request. The custom_id parameter must"
            raise _Fault("duplicate_custom_id", f"{message} be unique for each request in a batch.", "custom_id")
        self._seen.add(custom_id)
        return custom_id

    def _request(self, document: JsonText, custom_id: str, body: Raw) -> NewItem:
        parts = fields_of(body)
        model = _text(parts, "model", "body.model")
        _refuse_stream(bytes(parts.get("stream", b"null")).strip())
        problems = Problems()
        item = None
        if 0 < len(model) <= _MOST_MODEL_CHARS:
            given = ItemBody(resource_id=model, request=body, endpoint=self._endpoint, custom_id=custom_id)
            try:
                item = self._check.check_parts(document, problems, given)
            except BrimError as error:
                raise _Fault(_INVALID, error.message, "body") from None
        found = problems.first
        if found is not None:
            raise _of_problem(found["field"], found["message"])
        if item is None or item.resource_id in self._check.forbidden.values():
            message = f"The model `{model[:_SHOWN_MODEL_CHARS]}` does not exist or you do not have access to it."
            raise _Fault("model_not_found", message, "body.model")
        self.models.add(model)
        return item


class _Fault(Exception):
    """Why a line is refused, without its number."""

    def __init__(self, code: str, message: str, param: str | None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.param = param


def _required(fields: Fields, name: str, param: str) -> Raw:
    raw = fields.get(name)
    if raw is None or is_null(raw):
        raise _Fault(_MISSING, f"Missing required parameter: '{param}'.", param)
    return raw


def _text(fields: Fields, name: str, param: str) -> str:
    raw = _required(fields, name, param)
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.ValidationError:
        raise _Fault(_INVALID, f"'{param}' must be a string.", param) from None


def _refuse_stream(given: bytes) -> None:
    """given: the JSON of `stream`. Anything but a boolean is refused too: lenient servers take 1 or "true" for true,
    and answer with events that no result line can hold."""
    if given == b"true":
        raise _Fault("streaming_unsupported", "Streaming is not supported in a batch.", "body.stream")
    if given not in (b"false", b"null"):
        raise _Fault(_INVALID, "'body.stream' must be a boolean.", "body.stream")


def _of_problem(field: str, message: str) -> _Fault:
    """A problem of an item, as our other faces word it."""
    param = "custom_id" if field == "customId" else field.replace("request", "body", 1)
    if message == "is required":
        return _Fault(_MISSING, f"Missing required parameter: '{param}'.", param)
    return _Fault(_INVALID, f"'{param}' {message}.", param)
