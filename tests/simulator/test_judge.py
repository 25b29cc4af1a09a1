"""The judge finds the worst minute of any arrivals."""

from hypothesis import given
from hypothesis import strategies as st

from brim_server.simulator.judge import WINDOW_US, Judge, Worst

S = 1_000_000


def test_arrivals_sixty_seconds_apart_are_never_in_one_window() -> None:
    judge = Judge()
    judge.arrival(0, 5, True)
    judge.arrival(60 * S, 5, True)
    assert judge.arrived == Worst(1, 5)
    judge.arrival(60 * S + 1, 5, True)
    judge.arrival(120 * S - 1, 5, True)
    assert judge.arrived == Worst(3, 15)


def test_refused_arrivals_are_told_apart() -> None:
    judge = Judge()
    for index in range(10):
        judge.arrival(index * S, 7, index % 2 == 0)
    assert judge.arrived == Worst(10, 70)
    assert judge.admitted == Worst(5, 35)


def test_the_worst_is_remembered() -> None:
    judge = Judge()
    for _ in range(5):
        judge.arrival(S, 1, True)
    judge.arrival(1000 * S, 100, True)
    assert judge.arrived == Worst(5, 100)


def test_a_long_run_forgets_and_stays_exact() -> None:
    judge = Judge()
    for index in range(30_000):  # ten a second
        judge.arrival(index * S // 10, 3, True)
    assert judge.arrived == judge.admitted == Worst(600, 1800)


@given(st.lists(st.tuples(st.integers(0, 30 * S), st.integers(0, 100), st.booleans()), max_size=60))
def test_it_agrees_with_looking_at_every_window(gaps: list[tuple[int, int, bool]]) -> None:
    judge, now_us = Judge(), 0
    log: list[tuple[int, int, bool]] = []
    for gap_us, tokens, is_admitted in gaps:
        now_us += gap_us
        log.append((now_us, tokens, is_admitted))
        judge.arrival(now_us, tokens, is_admitted)
    for worst, counted in ((judge.arrived, log), (judge.admitted, [entry for entry in log if entry[2]])):
        windows = [[t for at, t, _ in counted if start <= at < start + WINDOW_US] for start, _, _ in counted]
        assert worst.requests == max((len(window) for window in windows), default=0)
        assert worst.tokens == max((sum(window) for window in windows), default=0)
