"""What a line of a provider's batch tells of an item."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from scheduler.domain.outcome import MOST_REFUSAL_BYTES, ItemOutcome
from scheduler.domain.status import ItemStatus
from scheduler.providers.batch_api import RemoteLine
from scheduler.providers.error_bodies import problem_in, storable
from scheduler.providers.usages import usage_in

_LONGEST_SEQ = 9
"""Digits of the largest seq that we name a line by."""


def outcome_of(
    line: RemoteLine, *, batch_id: UUID, connection_id: UUID, model: str, asked_at: datetime | None, now: datetime
) -> ItemOutcome | None:
    """The outcome of the item that the line is named after; None for a line that is none of ours. asked_at: when the
    provider was asked for the batch."""
    if not line.custom_id.isascii() or not line.custom_id.isdigit() or len(line.custom_id) > _LONGEST_SEQ:
        return None
    failed = ItemOutcome(
        batch_id=batch_id,
        seq=int(line.custom_id),
        run=1,
        status=ItemStatus.FAILED,
        connection_id=connection_id,
        model=model,
        started_at=asked_at,
        completed_at=now,
    )
    answer = line.response
    if answer is None:
        error = line.error
        code = (error.code if error and error.code else "native_error").upper()[:100]
        return replace(failed, error_code=storable(code), error_message=storable((error and error.message) or code))
    body = bytes(answer.body)
    if 200 <= answer.status_code < 300:
        usage = usage_in(body)
        return replace(
            failed,
            status=ItemStatus.COMPLETED,
            response=body,
            response_headers={"x-request-id": answer.request_id} if answer.request_id else {},
            prompt_tokens=usage.prompt_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
        )
    kept = len(body) <= MOST_REFUSAL_BYTES
    return replace(
        failed,
        error_code=f"PROVIDER_{answer.status_code}",
        error_message=problem_in(body).message or f"The provider answered {answer.status_code}.",
        response=body if kept else None,
        http_status=answer.status_code if kept else None,
    )
