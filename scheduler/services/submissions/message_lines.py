"""The lines of the results of an Anthropic message batch. A line follows from the record of its item alone."""

from __future__ import annotations

import json
from typing import Any

from scheduler.domain.ids import ItemIds
from scheduler.domain.status import ItemStatus
from scheduler.domain.submission import Ending, Submission
from scheduler.ports.submissions import Result
from scheduler.providers.anthropic.to_message import error_of, to_message


def message_line(submission: Submission, result: Result, ids: ItemIds) -> bytes:
    """What became of a request, with its line feed. ids: those of its batch."""
    return line_of(result.custom_id, _told(submission, result, ids))


def refused_line(custom_id: str | None, message: str) -> bytes:
    """A request of a batch that was refused as a whole."""
    return line_of(custom_id, {"type": "errored", "error": error_of(400, None, None, message)})


def line_of(custom_id: str | None, told: dict[str, Any]) -> bytes:
    """One line: bytes that are always the same for the same."""
    line = {"custom_id": custom_id, "result": told}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _told(submission: Submission, result: Result, ids: ItemIds) -> dict[str, Any]:
    match result.status:
        case ItemStatus.COMPLETED if result.response is not None:
            message = to_message(result.response, f"msg_{ids.of(result.seq).hex}")
            if message is not None:
                return {"type": "succeeded", "message": message}
            error = error_of(None, None, None, "The provider's answer is no chat completion.")
            return {"type": "errored", "error": error}
        case ItemStatus.CANCELLED:
            return {"type": "expired" if submission.due_ending is Ending.EXPIRED else "canceled"}
        case _ if result.error_code == "DEADLINE_EXCEEDED":
            return {"type": "expired"}
        case _:
            error = error_of(result.http_status, result.response, result.error_code, result.error_message)
            return {"type": "errored", "error": error}
