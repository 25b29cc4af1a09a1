"""The lines of result files, from the record of an item alone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.ids import ItemIds
from scheduler.domain.outcome import Usage
from scheduler.domain.status import ItemStatus
from scheduler.domain.submission import (
    ExecutionMode,
    Progress,
    SourceFormat,
    Submission,
    SubmissionStatus,
    UsageSums,
    Written,
)
from scheduler.ports.submissions import Result
from scheduler.services.submissions.events import counts_of
from scheduler.services.submissions.result_lines import add_usage, result_line

BATCH, AT = UUID(int=99), datetime(2026, 11, 22, tzinfo=UTC)
IDS = ItemIds(BATCH)


def submission(**changes: Any) -> Submission:
    """One whose batch of four runs: one completed, one failed."""
    given = Submission(
        workspace_id=UUID(int=1),
        environment_id=UUID(int=2),
        batch_id=BATCH,
        api_key_id=None,
        source_format=SourceFormat.OPENAI,
        execution_mode=ExecutionMode.HERE,
        input_file_id=UUID(int=3),
        endpoint="/v1/chat/completions",
        completion_window="24h",
        fine_priority=0,
        max_retries=3,
        metadata=None,
        output_expires_after_s=None,
        created_at=AT,
        expires_at=AT + timedelta(days=1),
        model="r",
        stored=4,
        in_progress_at=AT,
        started_at=AT,
        cancelling_at=None,
        expiring_at=None,
        ending=None,
        ended_at=None,
        faults=(),
        written=Written(),
        output_file_id=None,
        error_file_id=None,
        progress=Progress(4, 1, 1, 0, 3, begun=True, cancelled=False, ended_at=None),
        wants_items=False,
    )
    return replace(given, **changes)


def result(status: ItemStatus = ItemStatus.COMPLETED, **changes: Any) -> Result:
    """What became of item 1."""
    given = Result(1, 2, "c1", "/v1/chat/completions", status, None, None, None, None, None)
    return replace(given, **changes)


def line(of: Result, **changes: Any) -> dict[str, Any]:
    """The line of a result, parsed; it is one line whatever it holds."""
    text = result_line(submission(**changes), of, IDS).text
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    parsed = json.loads(text)
    assert set(parsed) == {"id", "custom_id", "response", "error"}
    assert parsed["id"] == f"batch_req_{IDS.of(1).hex}"
    return dict(parsed)


def test_an_answer_stands_in_its_line_byte_for_byte() -> None:
    body = b'{"id": "x",  "n": 1.000, "text": "\\ud83d \\u2028", "usage": {"prompt_tokens": 3}}'
    written = result_line(submission(), result(response=body, request_id="req-7"), IDS)
    assert body in written.text
    assert written.to_output
    assert json.loads(written.text)["response"] | {"body": None} == {
        "status_code": 200,
        "request_id": "req-7",
        "body": None,
    }


def test_a_pretty_printed_answer_becomes_one_line_and_stays_the_same_value() -> None:
    body = b'{\r\n  "a": [\n    1,\n    "x\\ny"\n  ]\n}\n'
    assert line(result(response=body))["response"]["body"] == {"a": [1, "x\ny"]}


def test_a_request_without_the_providers_id_still_has_one() -> None:
    assert line(result(response=b"{}"))["response"]["request_id"] == f"req_{IDS.of(1).hex}"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"error": {"message": "no",\n "code": 7}}', {"error": {"message": "no", "code": 7}}),
        (b"<html>\nbusy</html>", "<html>\nbusy</html>"),
        (b"\xff", "\ufffd"),
        (None, {"error": {"message": "It said no.", "type": None, "param": None, "code": "provider_503"}}),
    ],
)
def test_a_refusal_over_http_is_a_response_in_the_error_file(body: bytes | None, shown: Any) -> None:
    refused = result(
        ItemStatus.FAILED, http_status=503, response=body, error_code="PROVIDER_503", error_message="It said no."
    )
    assert not result_line(submission(), refused, IDS).to_output
    told = line(refused)
    assert (told["response"]["status_code"], told["response"]["body"], told["error"]) == (503, shown, None)


def test_what_failed_without_an_answer_has_an_error() -> None:
    told = line(result(ItemStatus.FAILED, error_code="PROVIDER_TIMEOUT", error_message="No answer within 10 s."))
    assert told["response"] is None
    assert told["error"] == {"code": "provider_timeout", "message": "No answer within 10 s."}


def test_what_was_stopped_says_by_what() -> None:
    stopped = result(ItemStatus.CANCELLED)
    assert line(stopped, cancelling_at=AT)["error"]["code"] == "batch_cancelled"
    assert line(stopped, expiring_at=AT)["error"] == {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    }


@pytest.mark.parametrize("custom_id", ['q"uote\n', "\x00", "\ud83d", "ü" * 64])
def test_every_custom_id_comes_back_as_it_was(custom_id: str) -> None:
    assert line(result(custom_id=custom_id, response=b"{}"))["custom_id"] == custom_id


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (
            b'{"usage": {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4},'
            b' "completion_tokens_details": {"reasoning_tokens": 3}}}',
            Usage(9, 5, 4, 3),
        ),
        (
            b'{"usage": {"input_tokens": 9, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4},'
            b' "output_tokens_details": {"reasoning_tokens": 3}}}',
            Usage(9, 5, 4, 3),
        ),
        (b'{"usage": {"prompt_tokens": 9, "total_tokens": 9}}', Usage(9, None)),
        (b'{"results": []}', Usage(None, None)),
    ],
)
def test_usage_is_read_in_the_shape_of_every_endpoint(body: bytes, usage: Usage) -> None:
    assert result_line(submission(), result(response=body), IDS).usage == usage
    start = UsageSums(1, 1, 1, 1)
    assert add_usage(start, usage) == UsageSums(
        1 + (usage.prompt_tokens or 0),
        1 + (usage.cached_tokens or 0),
        1 + (usage.output_tokens or 0),
        1 + (usage.reasoning_tokens or 0),
    )


@pytest.mark.parametrize(
    ("changes", "status", "counts"),
    [
        ({"progress": None}, SubmissionStatus.VALIDATING, (0, 0, 0, 0, 0, 0)),
        ({}, SubmissionStatus.IN_PROGRESS, (4, 2, 1, 1, 0, 0)),
        ({"cancelling_at": AT}, SubmissionStatus.CANCELLING, (4, 0, 1, 1, 2, 0)),
        ({"expiring_at": AT}, SubmissionStatus.IN_PROGRESS, (4, 0, 1, 1, 0, 2)),
        (
            {"progress": Progress(4, 3, 1, 0, 6, begun=True, cancelled=False, ended_at=AT)},
            SubmissionStatus.FINALIZING,
            (4, 0, 3, 1, 0, 0),
        ),
        (
            {"progress": Progress(4, 1, 1, 0, 3, begun=True, cancelled=True, ended_at=None)},
            SubmissionStatus.CANCELLING,
            (4, 0, 1, 1, 2, 0),
        ),
    ],
)
def test_states_and_counts_follow_from_what_happened(
    changes: dict[str, Any], status: SubmissionStatus, counts: tuple[int, ...]
) -> None:
    given = submission(**changes)
    assert given.status is status
    assert tuple(counts_of(given).values()) == counts
