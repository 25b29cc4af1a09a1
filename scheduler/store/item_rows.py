"""From rows to the domain: items with their outcomes, and outcomes to the columns of a flush."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import asyncpg
import msgspec

from scheduler.domain.batch import ENDPOINTS, Item
from scheduler.domain.outcome import ItemOutcome
from scheduler.domain.status import ItemStatus

_headers = msgspec.json.Decoder(dict[str, str])
_encode = msgspec.json.Encoder().encode

Row: TypeAlias = asyncpg.Record

OutcomeColumns = list[list[object]]
"""One list per array parameter of record_outcomes, in its order."""


def custom_id_bytes(custom_id: str | None) -> bytes | None:
    """What is stored of a custom id: every text that JSON can hold, also NUL and lone surrogates."""
    return None if custom_id is None else custom_id.encode("utf-8", "surrogatepass")


def item_of(row: Row) -> Item:
    """A row of the item query: the item, its batch's address and the outcome of its current run, if any."""
    custom_id, headers, status = row["custom_id"], row["response_headers"], row["status"]
    return Item(
        workspace_id=row["workspace_id"],
        environment_id=row["environment_id"],
        batch_id=row["batch_id"],
        seq=row["seq"],
        run=row["run"],
        custom_id=None if custom_id is None else custom_id.decode("utf-8", "surrogatepass"),
        resource_id=row["resource_id"],
        endpoint=ENDPOINTS[row["endpoint"]],
        status=ItemStatus.PENDING if status is None else ItemStatus(status),
        request=row["request"],
        metadata=row["metadata"],
        response=row["response"] if status == ItemStatus.COMPLETED else None,
        response_headers=None if headers is None else _headers.decode(headers),
        error_code=row["error_code"],
        error_message=row["error_message"],
        retry_count=row["retry_count"] or 0,
        in_tokens=row["in_tokens"],
        prompt_tokens=row["prompt_tokens"],
        output_tokens=row["output_tokens"],
        served_connection=row["served_connection"],
        served_model=row["served_model"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        event_no=row["event_no"],
    )


def storable(text: str | None) -> str | None:
    """A text that Postgres takes: NUL and lone surrogates become U+FFFD. Providers may put them in a reason."""
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def outcome_columns(outcomes: Sequence[ItemOutcome]) -> OutcomeColumns:
    """The array parameters of record_outcomes, without the last one (whether to wait)."""
    rows = [
        (
            o.batch_id,
            o.seq,
            o.run,
            o.status.value,
            storable(o.error_code),
            storable(o.error_message),
            o.response,
            None if o.response_headers is None else _header_text(o.response_headers),
            o.prompt_tokens,
            o.output_tokens,
            o.retry_count,
            o.connection_id,
            storable(o.model),
            o.started_at,
            o.completed_at,
            o.valid_until,
            o.http_status,
        )
        for o in outcomes
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _header_text(headers: Mapping[str, str]) -> str:
    try:
        return _encode(headers).decode()
    except UnicodeEncodeError:
        return _encode({storable(k): storable(v) for k, v in headers.items()}).decode()
