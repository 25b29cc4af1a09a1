"""The judge of chaos runs: a history without fault passes, and each broken promise is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.history import BatchHistory, Call, Event, History, Receipt, Struck
from tests.chaos.schedule import MAY_REPEAT, REDIS_LOSSES, Fault, plan

BATCH = "b"
SEEN_S = 10.0


def good() -> History:
    """Two items of one batch with callbacks: called, recorded, told and delivered."""
    batch = BatchHistory(BATCH, ["x", "y"], True)
    batch.events = [
        Event(1, "batch-created", "", 1.0),
        Event(2, "item-completed", "x", SEEN_S),
        Event(3, "item-failed", "y", SEEN_S),
        Event(4, "batch-failed", "", SEEN_S),
    ]
    batch.second_reading = list(batch.events)
    batch.done = True
    batch.items = [{"customId": "x", "status": "COMPLETED"}, {"customId": "y", "status": "FAILED"}]
    batch.final = {
        "status": "FAILED",
        "totalItems": 2,
        "completed": 1,
        "failed": 1,
        "cancelled": 0,
        "pending": 0,
        "running": 0,
    }
    subjects = ("item:x:COMPLETED", "item:y:FAILED", "batch:FAILED")
    return History(
        batches={BATCH: batch},
        bodies={"digest-x": "x", "digest-y": "y"},
        receipts=[Receipt(f"d-{subject}", BATCH, subject, True) for subject in subjects],
        calls=[Call(5.0, "digest-x", 200, ""), Call(5.0, "digest-y", 500, "error")],
        faults=[],
        limits=[("requests", 100, 100)],
    )


def test_a_history_in_which_every_promise_was_kept_has_no_violation() -> None:
    assert good().violations() == []


def called_again(at_s: float, fault: Fault | None = None, from_s: float = 0.0, to_s: float = 0.0) -> History:
    """Item x was answered at 5 s, and called again."""
    history = good()
    history.calls.append(Call(at_s, "digest-x", 200, ""))
    if fault is not None:
        history.faults.append(Struck(fault, from_s, to_s))
    return history


@pytest.mark.parametrize("fault", sorted(MAY_REPEAT))
def test_a_fault_in_flight_excuses_a_second_call(fault: Fault) -> None:
    assert called_again(7.0, fault, 5.5, 6.0).violations() == []


@pytest.mark.parametrize(
    ("at_s", "fault", "from_s", "to_s"),
    [
        (7.0, None, 0.0, 0.0),
        (7.0, Fault.POSTGRES_RESTART, 5.5, 6.0),
        (7.0, Fault.SCRIPT_FLUSH, 5.5, 5.5),
        (7.0, Fault.KILL_API, 5.5, 5.5),
        (7.0, Fault.KILL_WORKER, 1.0, 1.0),  # before the first call
        (11.0, Fault.KILL_WORKER, 10.5, 10.5),  # after the outcome was recorded
        (20.0, Fault.KILL_WORKER, 5.5, 5.5),  # long after the outcome was recorded
    ],
)
def test_any_other_second_call_is_found(at_s: float, fault: Fault | None, from_s: float, to_s: float) -> None:
    assert len(called_again(at_s, fault, from_s, to_s).violations()) == 1


def test_a_second_call_after_a_spoiled_answer_needs_no_excuse() -> None:
    history = good()
    history.calls = [Call(5.0, "digest-x", 200, "garbage"), Call(6.0, "digest-x", 200, ""), *history.calls[1:]]
    assert history.violations() == []


def drop_item(history: History) -> None:
    del history.batches[BATCH].items[0]


def never_end(history: History) -> None:
    history.batches[BATCH].final["status"] = "RUNNING"


def count_twice(history: History) -> None:
    history.batches[BATCH].final["completed"] = 2


def leave_running(history: History) -> None:
    history.batches[BATCH].final["running"] = 1


def skip_event(history: History) -> None:
    del history.batches[BATCH].events[1]


def repeat_event(history: History) -> None:
    events = history.batches[BATCH].events
    events.insert(2, events[1])


def end_twice(history: History) -> None:
    events = history.batches[BATCH].events
    events[2] = Event(3, "item-completed", "x", SEEN_S)


def tell_otherwise(history: History) -> None:
    history.batches[BATCH].items[1]["status"] = "COMPLETED"


def rewrite(history: History) -> None:
    history.batches[BATCH].second_reading[1] = Event(2, "item-completed", "y", SEEN_S)


def go_deaf(history: History) -> None:
    history.batches[BATCH].done = False


def lose_callback(history: History) -> None:
    history.receipts[0] = Receipt("d", BATCH, history.receipts[0].subject, False)


def mix_callbacks(history: History) -> None:
    history.receipts.append(Receipt(history.receipts[0].key, BATCH, "item:y:FAILED", True))


def exceed(history: History) -> None:
    history.limits = [("requests", 100, 101)]


def refuse(history: History) -> None:
    history.refused = 1


def call_out_of_the_blue(history: History) -> None:
    history.calls.append(Call(5.0, "digest-z", 200, ""))


@pytest.mark.parametrize(
    "break_it",
    [
        drop_item,
        never_end,
        count_twice,
        leave_running,
        skip_event,
        repeat_event,
        end_twice,
        tell_otherwise,
        rewrite,
        go_deaf,
        lose_callback,
        mix_callbacks,
        exceed,
        refuse,
        call_out_of_the_blue,
    ],
)
def test_each_broken_promise_is_found(break_it: Callable[[History], None]) -> None:
    history = good()
    break_it(history)
    assert history.violations() != []


def test_a_schedule_comes_again_from_its_seed_and_holds_every_kind() -> None:
    planned = plan(7, 60.0, tuple(Fault), 16)
    assert planned == plan(7, 60.0, tuple(Fault), 16)
    assert planned != plan(8, 60.0, tuple(Fault), 16)
    assert {each.fault for each in planned} == set(Fault)
    assert all(each.at_s < 30.0 for each in planned if each.fault in REDIS_LOSSES)
