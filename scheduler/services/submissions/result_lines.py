"""The lines of result files: what became of an item, with the provider's answer byte for byte.

A line follows from the record of its item alone, so writing it again gives the same bytes: the files rely on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, assert_never

import msgspec

from scheduler.domain.ids import ItemIds
from scheduler.domain.outcome import Usage
from scheduler.domain.public_ids import REQUEST, shown_id
from scheduler.domain.status import ItemStatus
from scheduler.domain.submission import Ending, SourceFormat, Submission, UsageSums
from scheduler.ports.submissions import Result
from scheduler.providers.usages import usage_in
from scheduler.services.submissions.message_lines import message_line

EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
CANCELLED = ("batch_cancelled", "This request was cancelled before it was executed.")
_NO_ANSWER = ("no_answer", "The request failed without an answer.")


@dataclass(frozen=True, slots=True)
class ResultLine:
    """A line with its line feed. to_output: of the output file, otherwise of the error file. usage: as the answer
    reports it."""

    text: bytes
    to_output: bool
    usage: Usage | None


def result_line(submission: Submission, result: Result, ids: ItemIds) -> ResultLine:
    """What the files tell of an item, in the format of its submission. ids: those of its batch."""
    match submission.source_format:
        case SourceFormat.OPENAI:
            return _openai_line(submission, result, ids)
        case SourceFormat.ANTHROPIC:
            # One file tells of all: what failed stands beside what succeeded.
            return ResultLine(message_line(submission, result, ids), True, _usage_of(result))
        case _:
            assert_never(submission.source_format)


def add_usage(sums: UsageSums, usage: Usage | None) -> UsageSums:
    """The sums with one more answer."""
    if usage is None:
        return sums
    return UsageSums(
        sums.input_tokens + (usage.prompt_tokens or 0),
        sums.cached_tokens + (usage.cached_tokens or 0),
        sums.output_tokens + (usage.output_tokens or 0),
        sums.reasoning_tokens + (usage.reasoning_tokens or 0),
    )


def _openai_line(submission: Submission, result: Result, ids: ItemIds) -> ResultLine:
    line_id = shown_id(REQUEST, ids.of(result.seq)).encode()
    custom_id = json_string(result.custom_id)
    response, error = _openai_parts(submission, result, ids)
    text = b'{"id": "%s", "custom_id": %s, "response": %s, "error": %s}\n' % (line_id, custom_id, response, error)
    return ResultLine(text, result.status is ItemStatus.COMPLETED, _usage_of(result))


def _usage_of(result: Result) -> Usage | None:
    if result.status is not ItemStatus.COMPLETED or result.response is None:
        return None
    return usage_in(result.response)


def _openai_parts(submission: Submission, result: Result, ids: ItemIds) -> tuple[bytes, bytes]:
    """The JSON of `response` and of `error`."""
    if result.status is ItemStatus.COMPLETED and result.response is not None:
        return _response(200, result, ids, in_one_line(result.response)), b"null"
    if result.http_status is not None:
        body = _as_json(result.response) or _described(result)
        return _response(result.http_status, result, ids, body), b"null"
    code, message = _reason(submission, result)
    return b"null", b'{"code": %s, "message": %s}' % (json_string(code), json_string(message))


def _response(status: int, result: Result, ids: ItemIds, body: bytes) -> bytes:
    # A provider that names no request still leaves something to ask for.
    request_id = result.request_id or f"req_{ids.of(result.seq).hex}"
    return b'{"status_code": %d, "request_id": %s, "body": %s}' % (status, json_string(request_id), body)


def _reason(submission: Submission, result: Result) -> tuple[str, str]:
    if result.status is ItemStatus.CANCELLED:
        return EXPIRED if submission.due_ending is Ending.EXPIRED else CANCELLED
    if result.error_code == "DEADLINE_EXCEEDED":
        return EXPIRED
    return (result.error_code or _NO_ANSWER[0]).lower(), result.error_message or _NO_ANSWER[1]


def _described(result: Result) -> bytes:
    """In place of a refusal that was too long to keep."""
    code = None if result.error_code is None else result.error_code.lower()
    error = {"message": result.error_message, "type": None, "param": None, "code": code}
    return msgspec.json.encode({"error": error})


def _as_json(body: bytes | None) -> bytes | None:
    """A refusal as the value that it is, or as a string when it is no JSON."""
    if not body:
        return None
    try:
        json.loads(body.decode())
    except (ValueError, RecursionError):
        return json.dumps(body.decode("utf-8", "replace")).encode()
    return in_one_line(body)


def in_one_line(body: bytes) -> bytes:
    """JSON without line ends: between its parts, where alone they may stand, a blank means the same. Nothing else
    changes, and the length neither."""
    return body.replace(b"\n", b" ").replace(b"\r", b" ").strip()


def json_string(text: str | None) -> bytes:
    """A text as JSON; with lone surrogates as escapes, as they came."""
    value: Any = text
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()
