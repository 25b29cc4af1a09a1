"""Counts and statuses that always add up."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.batch import Batch
from scheduler.domain.priority import Priority
from scheduler.domain.status import BatchStatus, BatchType
from scheduler.services.batches.progress import counts_of

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def batch(total: int, completed: int, failed: int, cancelled: int, status: BatchStatus) -> Batch:
    return Batch(
        workspace_id=UUID(int=1),
        environment_id=UUID(int=2),
        batch_id=UUID(int=3),
        type=BatchType.ASYNC,
        status=status,
        callback=None,
        capacity=(),
        max_in_flight=None,
        priority=Priority.NORMAL,
        metadata=None,
        deadline=None,
        paused=False,
        total_items=total,
        stored=total,
        sealed=True,
        completed=completed,
        failed=failed,
        cancelled=cancelled,
        estimated_prompt_tokens=0,
        prompt_tokens=0,
        output_tokens=0,
        error_message=None,
        created_at=_NOW,
        updated_at=_NOW,
        completed_at=None,
        api_key_id=None,
        api_key_name=None,
        last_event=1,
        version=1,
    )


@given(
    parts=st.tuples(*[st.integers(0, 20)] * 4), leased=st.integers(0, 100), status=st.sampled_from(list(BatchStatus))
)
def test_counts_always_add_up(parts: tuple[int, int, int, int], leased: int, status: BatchStatus) -> None:
    completed, failed, cancelled, rest = parts
    total = sum(parts)
    counts = counts_of(batch(total, completed, failed, cancelled, status), leased)
    assert counts.pending + counts.running + counts.completed + counts.failed + counts.cancelled == total
    assert min(counts.pending, counts.running, counts.cancelled) >= 0
    assert counts.running == min(leased, rest)
    if status is BatchStatus.CANCELLED:
        assert counts.pending == 0
