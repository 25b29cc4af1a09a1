"""From rows to the domain: submissions and their results."""

from __future__ import annotations

import msgspec

from scheduler.domain.batch import ENDPOINTS, Endpoint
from scheduler.domain.errors import InvariantBroken
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.domain.submission import (
    Ending,
    ExecutionMode,
    LineFault,
    PartFile,
    Progress,
    SourceFormat,
    Submission,
    UsageSums,
    Written,
)
from scheduler.ports.submissions import Result
from scheduler.store.rows import Row

_faults = msgspec.json.Decoder(tuple[LineFault, ...])
_metadata = msgspec.json.Decoder(dict[str, str])
_headers = msgspec.json.Decoder(dict[str, str])
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id")


def submission_of(row: Row) -> Submission:
    """A row of `submissions` with what is told of its batch."""
    return Submission(
        workspace_id=row["workspace_id"],
        environment_id=row["environment_id"],
        batch_id=row["batch_id"],
        api_key_id=row["api_key_id"],
        source_format=SourceFormat(row["source_format"]),
        execution_mode=ExecutionMode(row["execution_mode"]),
        input_file_id=row["input_file_id"],
        endpoint=_endpoint(row["endpoint"]),
        completion_window=row["completion_window"],
        fine_priority=row["fine_priority"],
        max_retries=row["max_retries"],
        metadata=None if row["metadata"] is None else _metadata.decode(row["metadata"]),
        output_expires_after_s=row["output_expires_after_s"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        model=row["model"],
        stored=row["stored"],
        in_progress_at=row["in_progress_at"],
        started_at=row["started_at"],
        cancelling_at=row["cancelling_at"],
        expiring_at=row["expiring_at"],
        ending=None if row["ending"] is None else Ending(row["ending"]),
        ended_at=row["ended_at"],
        faults=() if row["faults"] is None else _faults.decode(row["faults"]),
        written=written_of(row),
        output_file_id=row["output_file_id"],
        error_file_id=row["error_file_id"],
        progress=None if row["batch_items"] is None else _progress(row),
        wants_items=row["wants_items"],
    )


def written_of(row: Row) -> Written:
    """How far the files are written."""
    return Written(
        told_event=row["told_event"],
        output=PartFile(row["output_bytes"], row["output_lines"], row["output_crc"]),
        errors=PartFile(row["error_bytes"], row["error_lines"], row["error_crc"]),
        usage=UsageSums(row["input_tokens"], row["cached_tokens"], row["output_tokens"], row["reasoning_tokens"]),
    )


def _progress(row: Row) -> Progress:
    status = BatchStatus(row["status"])
    return Progress(
        total=row["batch_items"],
        completed=row["completed"],
        failed=row["failed"],
        cancelled_items=row["cancelled"],
        last_event=row["last_event"],
        begun=status is not BatchStatus.PENDING,
        cancelled=status is BatchStatus.CANCELLED,
        ended_at=row["batch_ended_at"],
    )


def _endpoint(text: str) -> Endpoint:
    for endpoint in ENDPOINTS:
        if endpoint == text:
            return endpoint
    raise InvariantBroken(f"a submission is for the unknown endpoint {text}")


def result_of(row: Row) -> Result:
    """A row of the results."""
    custom_id, headers = row["custom_id"], row["response_headers"]
    known = {} if headers is None else _headers.decode(headers)
    return Result(
        seq=row["seq"],
        event_no=row["event_no"],
        custom_id=None if custom_id is None else custom_id.decode("utf-8", "surrogatepass"),
        endpoint=ENDPOINTS[row["endpoint"]],
        status=ItemStatus(row["status"]),
        error_code=row["error_code"],
        error_message=row["error_message"],
        response=row["response"],
        http_status=row["http_status"],
        request_id=next((known[name] for name in _REQUEST_IDS if name in known), None),
    )
