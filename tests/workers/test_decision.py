"""What follows from the end of an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.outcome import (
    AttemptEnd,
    Failed,
    Fatal,
    FatalScope,
    LimitHit,
    Retry,
    Succeeded,
    Usage,
)
from scheduler.domain.status import ItemStatus
from workers.decision import Decision, GiveBack, Pause, PauseWhy, Record, decide

waits = st.none() | st.integers(0, 10**7)
ends: st.SearchStrategy[AttemptEnd] = st.one_of(
    st.just(Succeeded(b"{}", {}, Usage(1, 1))),
    st.builds(Retry, reason=st.just("r"), code=st.just("c"), after_ms=waits, transport=st.booleans()),
    st.just(Failed("r", "c", 400)),
    st.builds(LimitHit, after_ms=st.integers(0, 10**6), reason=st.just("r")),
    st.builds(Fatal, scope=st.sampled_from(FatalScope), reason=st.just("r"), code=st.just("c")),
)
SHAPE = {"attempts": 0, "target": 0, "targets": 1, "max_retries": 5, "jitter": 0.5}


def decided(end: AttemptEnd, **changes: float) -> Decision:
    return decide(end, **(SHAPE | changes))  # type: ignore[arg-type]  # numbers by name


@given(ends, st.integers(0, 20), st.integers(1, 4), st.integers(0, 3), st.integers(0, 10), st.floats(0, 0.999))
def test_an_attempt_ends_in_a_record_or_goes_back_to_a_target_that_exists(
    end: AttemptEnd, attempts: int, targets: int, target: int, max_retries: int, jitter: float
) -> None:
    target = min(target, targets - 1)
    decision = decide(end, attempts=attempts, target=target, targets=targets, max_retries=max_retries, jitter=jitter)
    if isinstance(decision, Record):
        assert decision.status in (ItemStatus.COMPLETED, ItemStatus.FAILED)
        assert (decision.success is not None) == (decision.status is ItemStatus.COMPLETED)
        assert (decision.error_code is not None) == (decision.status is ItemStatus.FAILED)
    else:
        assert 0 <= decision.next_target < targets
        assert decision.delay_ms >= 0
        # Only what waits for a connection that is shut may come back without having spent anything.
        assert decision.spend_attempt or decision.pause is not None or decision.park is not None


@given(ends, st.integers(1, 4), st.integers(0, 6))
def test_no_item_goes_on_for_ever(end: AttemptEnd, targets: int, max_retries: int) -> None:
    attempts = target = turns = 0
    while True:
        decision = decide(end, attempts=attempts, target=target, targets=targets, max_retries=max_retries, jitter=0.0)
        if isinstance(decision, Record) or decision.pause is not None or decision.park is not None:
            return
        attempts, target, turns = attempts + decision.spend_attempt, decision.next_target, turns + 1
        assert turns <= max_retries + targets


def test_a_limit_spends_no_attempt_and_pauses() -> None:
    assert decided(LimitHit(1_234, "slow"), attempts=99) == GiveBack(0, False, 0, Pause(1_234, "slow", PauseWhy.LIMIT))


def test_a_retry_backs_off_and_obeys_the_hint() -> None:
    assert decided(Retry("r", "c"), attempts=1) == GiveBack(1_500, True, 0)
    assert decided(Retry("r", "c", after_ms=90_000)) == GiveBack(90_000, True, 0)


def test_a_retry_of_a_spilling_resource_tries_the_targets_in_turn() -> None:
    assert decided(Retry("r", "c"), targets=2, spill=True) == GiveBack(750, True, 1)
    assert decided(Retry("r", "c"), targets=2, target=1, spill=True) == GiveBack(750, True, 0)
    assert isinstance(decided(Retry("r", "c"), targets=2, target=1, attempts=5, spill=True), Record)


def test_what_a_later_target_served_goes_back_to_its_own() -> None:
    limit = Pause(5, "slow", PauseWhy.LIMIT)
    assert decided(LimitHit(5, "slow"), targets=2, target=1, bound_for=0) == GiveBack(0, False, 0, limit)
    assert decided(Retry("r", "c"), targets=2, target=1, bound_for=0) == GiveBack(750, True, 0)
    assert decided(Failed("r", "c"), targets=3, target=1, bound_for=0) == GiveBack(0, True, 2)


def test_max_retries_are_retries_after_the_first_attempt() -> None:
    assert isinstance(decided(Retry("r", "c"), attempts=4), GiveBack)
    assert decided(Retry("r", "c"), attempts=5) == Record(ItemStatus.FAILED, error_code="c", error_message="r")
    assert isinstance(decided(Retry("r", "c"), max_retries=0), Record)


def test_a_failure_moves_to_the_next_target_and_then_is_final() -> None:
    assert decided(Failed("r", "c"), targets=2) == GiveBack(0, True, 1)
    assert isinstance(decided(Failed("r", "c"), targets=2, target=1), Record)


@pytest.mark.parametrize("scope", [FatalScope.CONNECTION, FatalScope.MODEL])
def test_a_dead_connection_is_parked_and_its_items_try_the_next_target_round_and_round(scope: FatalScope) -> None:
    end = Fatal(scope, "no credit", "c", 5)
    assert decided(end, targets=2) == GiveBack(0, False, 1, park=end)
    assert decided(end, targets=2, target=1) == GiveBack(0, False, 0, park=end)
    assert decided(end, attempts=99) == GiveBack(0, False, 0, park=end)
