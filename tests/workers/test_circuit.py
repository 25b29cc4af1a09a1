"""When a connection is paused, and for how long."""

from __future__ import annotations

from workers.circuit import LONGEST_PAUSE_MS, TRIP_CALLS, Circuit


def tripped(circuit: Circuit, now_s: float) -> int | None:
    pause_ms = None
    for _ in range(TRIP_CALLS):
        pause_ms = circuit.failed("b", now_s)
    return pause_ms


def test_twenty_calls_in_a_row_without_an_answer_open_the_circuit() -> None:
    circuit = Circuit()
    assert [circuit.failed("b", 0.0) for _ in range(TRIP_CALLS - 1)] == [None] * (TRIP_CALLS - 1)
    assert circuit.failed("b", 0.0) == 1_000


def test_one_answer_starts_the_count_anew() -> None:
    circuit = Circuit()
    for _ in range(TRIP_CALLS - 1):
        circuit.failed("b", 0.0)
    circuit.answered("b")
    assert circuit.failed("b", 0.0) is None


def test_calls_that_were_in_flight_do_not_prolong_the_pause() -> None:
    circuit = Circuit()
    assert tripped(circuit, 0.0) == 1_000
    assert [circuit.failed("b", 0.5) for _ in range(300)] == [None] * 300


def test_failing_probes_make_the_pause_grow_to_its_bound() -> None:
    circuit, now_s, pauses = Circuit(), 0.0, []
    tripped(circuit, now_s)
    for _ in range(8):
        now_s += 100
        pauses.append(circuit.failed("b", now_s))
    assert pauses == [2_000, 4_000, 8_000, 16_000, *[LONGEST_PAUSE_MS] * 4]


def test_connections_do_not_count_for_each_other() -> None:
    circuit = Circuit()
    tripped(circuit, 0.0)
    assert circuit.failed("other", 0.0) is None


def test_a_stated_wait_is_asked_for_once_and_a_longer_one_again() -> None:
    circuit = Circuit()
    assert circuit.limited("b", 5_000, 0.0) == 5_000
    assert circuit.limited("b", 5_000, 0.1) is None
    assert circuit.limited("b", 60_000, 0.2) == 60_000


def test_an_unstated_wait_doubles_each_time_in_a_row_and_starts_anew_after_an_answer() -> None:
    circuit = Circuit()
    assert circuit.limited("b", 0, 0.0) == 1_000
    assert circuit.limited("b", 0, 0.5) is None
    assert circuit.limited("b", 0, 2.0) == 2_000
    assert circuit.limited("b", 0, 10.0) == 4_000
    circuit.answered("b")
    assert circuit.limited("b", 0, 20.0) == 1_000


def test_it_is_open_from_the_last_of_the_failures_in_a_row_until_an_answer() -> None:
    circuit = Circuit()
    for _ in range(TRIP_CALLS - 1):
        circuit.failed("b", 0.0)
    assert (circuit.is_open("b"), circuit.remembers) == (False, True)
    circuit.failed("b", 0.0)
    assert (circuit.is_open("b"), circuit.is_open("other")) == (True, False)
    circuit.answered("b")
    assert not circuit.is_open("b")
    assert circuit.remembers is False, "the pauses are forgotten with it"
