"""How long a budget rests that was told to rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.retry import SPREAD_LEAST_MS, SPREAD_MOST_MS, spread_ms


@given(st.integers(0, 86_400_000), st.text(st.characters(codec="utf-8")), st.floats(0, 2e9))
def test_it_rests_no_shorter_than_told_and_hardly_longer(told_ms: int, budget: str, now_s: float) -> None:
    more_ms = spread_ms(told_ms, budget, now_s) - told_ms
    assert 0 <= more_ms <= max(min(told_ms / 10, SPREAD_MOST_MS), SPREAD_LEAST_MS)


def test_processes_of_one_installation_agree_and_installations_do_not() -> None:
    assert spread_ms(5_000, "connection-a", 120.0) == spread_ms(5_000, "connection-a", 179.9)
    spread = {spread_ms(5_000, f"connection-{number}", 120.0) for number in range(100)}
    assert len(spread) > 80
    assert min(spread) < 5_050
    assert max(spread) > 5_450


def test_two_that_are_close_do_not_stay_so() -> None:
    assert len({spread_ms(5_000, "connection-a", minute * 60.0) for minute in range(100)}) > 80
