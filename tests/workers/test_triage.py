"""What is done with each claimed entry."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from scheduler.domain.priority import Priority
from scheduler.domain.setup import Resource, Target
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.domain.work import Entry, Fence, FlowRef, Lease, LeaseRef, QueueRef
from scheduler.ports.items import Loaded, LoadedItem
from workers.decision import Record
from workers.triage import Drop, Lessen, MoveOn, Send, Settle, triage

NOW = datetime(2026, 11, 22, tzinfo=UTC)
BATCH, CONNECTION, ID = UUID(int=1), UUID(int=2), UUID(int=3)
FLOW = FlowRef(QueueRef(str(ID), str(ID), str(ID)), str(BATCH))
LEASE = Lease(LeaseRef(FLOW, 7, Fence(3, 1)), Entry(7, 1, 1, 1), 0)
ITEM = LoadedItem(BATCH, 7, 1, 1, False, BatchStatus.RUNNING, None, False, ID, "/v1/chat/completions", b"{}", 1)
RESOURCE = Resource(
    ID, ID, ID, "r", None, (Target(CONNECTION, "m"),), False, (), True, None, 1, 5, Priority.NORMAL, {}, 1, NOW, NOW
)


def loaded(item: LoadedItem | None, epoch: int = 3) -> Loaded:
    return Loaded(epoch, NOW, {} if item is None else {(BATCH, 7): item})


def test_an_open_item_is_sent_to_the_target_that_was_reserved() -> None:
    assert triage(LEASE, loaded(ITEM), RESOURCE) == Send(ITEM, Target(CONNECTION, "m"))


def test_a_lease_of_an_older_epoch_is_dropped_unsent() -> None:
    assert triage(LEASE, loaded(ITEM, epoch=4), RESOURCE) == Drop()


@pytest.mark.parametrize("item", [None, replace(ITEM, finished=True), replace(ITEM, current_run=2)])
def test_what_is_finished_or_gone_is_only_settled(item: LoadedItem | None) -> None:
    assert triage(LEASE, loaded(item), RESOURCE) == Settle()


def test_an_item_of_a_cancelled_batch_is_recorded_and_never_sent() -> None:
    step = triage(LEASE, loaded(replace(ITEM, batch_status=BatchStatus.CANCELLED)), RESOURCE)
    assert step == Record(ItemStatus.CANCELLED)


@pytest.mark.parametrize(
    ("lease", "item", "resource", "code"),
    [
        (LEASE._replace(dead=True), ITEM, RESOURCE, "DEAD_LETTER"),
        (LEASE._replace(exceeds="batch-1"), ITEM, RESOURCE, "ITEM_EXCEEDS_CAPACITY"),
        (LEASE, replace(ITEM, deadline=NOW), RESOURCE, "DEADLINE_EXCEEDED"),
        (LEASE, ITEM, None, "AI_RESOURCE_NOT_FOUND"),
        (LEASE._replace(target=1), ITEM, RESOURCE, "AI_CONNECTION_NOT_FOUND"),
    ],
)
def test_what_cannot_be_sent_fails_with_its_code(
    lease: Lease, item: LoadedItem, resource: Resource | None, code: str
) -> None:
    step = triage(lease, loaded(item), resource)
    assert isinstance(step, Record)
    assert (step.status, step.error_code) == (ItemStatus.FAILED, code)


def test_a_reserve_that_rose_and_fits_no_more_is_lessened_before_the_item_fails() -> None:
    risen = LEASE._replace(entry=Entry(7, 1, 1, 400), exceeds="batch-1")
    assert triage(risen, loaded(replace(ITEM, out_tokens=40)), RESOURCE) == Lessen(40)
    cancelled = replace(ITEM, out_tokens=40, batch_status=BatchStatus.CANCELLED)
    assert triage(risen, loaded(cancelled), RESOURCE) == Record(ItemStatus.CANCELLED)


def test_a_deadline_ahead_does_not_matter() -> None:
    item = replace(ITEM, deadline=NOW + timedelta(milliseconds=1))
    assert isinstance(triage(LEASE, loaded(item), RESOURCE), Send)


def test_what_is_too_large_for_its_target_moves_on_as_long_as_there_is_one() -> None:
    two = replace(RESOURCE, targets=(Target(CONNECTION, "m"), Target(CONNECTION, "n")))
    for budget in (f"connection-{CONNECTION}", f"model-{CONNECTION}-1", f"pool-{CONNECTION}-1"):
        assert triage(LEASE._replace(exceeds=budget), loaded(ITEM), two) == MoveOn(1)
        last = triage(LEASE._replace(exceeds=budget, target=1), loaded(ITEM), two)
        assert isinstance(last, Record)
        assert last.error_code == "ITEM_EXCEEDS_CAPACITY"
    assert isinstance(triage(LEASE._replace(exceeds=f"key-{ID}"), loaded(ITEM), two), Record)
