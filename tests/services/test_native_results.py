"""What a line of a provider's batch tells of an item."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from scheduler.domain.outcome import MOST_REFUSAL_BYTES, ItemOutcome
from scheduler.domain.status import ItemStatus
from scheduler.providers.batch_api import RemoteLine
from scheduler.services.submissions.native_results import outcome_of

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
BATCH, CONNECTION = UUID(int=1), UUID(int=2)


def told(line: dict[str, object]) -> ItemOutcome | None:
    """The outcome that a line as the provider writes it comes to."""
    read = msgspec.json.decode(msgspec.json.encode(line), type=RemoteLine)
    return outcome_of(read, batch_id=BATCH, connection_id=CONNECTION, model="m", asked_at=None, now=NOW)


def test_an_answer_is_kept_as_it_came_with_what_it_used() -> None:
    body = {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    found = told({"custom_id": "12", "response": {"status_code": 200, "request_id": "q", "body": body}})
    assert found is not None
    assert (found.batch_id, found.seq, found.status) == (BATCH, 12, ItemStatus.COMPLETED)
    assert (found.prompt_tokens, found.output_tokens, found.response_headers) == (7, 3, {"x-request-id": "q"})
    assert found.response == msgspec.json.encode(body)
    assert (found.error_code, found.http_status) == (None, None)


def test_a_refusal_is_kept_unless_it_is_long() -> None:
    short = told({"custom_id": "1", "response": {"status_code": 400, "body": {"error": {"message": "No such model."}}}})
    long = told({"custom_id": "1", "response": {"status_code": 500, "body": "x" * MOST_REFUSAL_BYTES}})
    assert short is not None
    assert long is not None
    assert (short.status, short.error_code, short.error_message) == (
        ItemStatus.FAILED,
        "PROVIDER_400",
        "No such model.",
    )
    assert (short.http_status, short.response is None) == (400, False)
    assert (long.error_code, long.response, long.http_status) == ("PROVIDER_500", None, None)


def test_a_line_without_an_answer_tells_why() -> None:
    found = told({"custom_id": "1", "error": {"code": "batch_expired", "message": "Too late."}})
    bare = told({"custom_id": "1"})
    assert found is not None
    assert bare is not None
    assert (found.error_code, found.error_message) == ("BATCH_EXPIRED", "Too late.")
    assert (bare.error_code, bare.error_message) == ("NATIVE_ERROR", "NATIVE_ERROR")


@pytest.mark.parametrize("custom_id", ["", "mine", "-1", "1.5", "١", "1234567890"])
def test_a_line_that_is_none_of_ours_is_no_outcome(custom_id: str) -> None:
    assert told({"custom_id": custom_id, "error": {"code": "x"}}) is None
