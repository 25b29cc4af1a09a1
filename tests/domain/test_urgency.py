"""What a deadline adds to a batch's weight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.urgency import MOST, urgency


@pytest.mark.parametrize(
    ("finished", "remaining", "elapsed_s", "left_s", "factor"),
    [
        (50, 50, 100, 200, 1.0),  # it will be done in half its time
        (50, 50, 100, 100, 1.25),  # just in time, without the margin
        (10, 90, 100, 300, 3.75),  # 900 s of work in 300 s
        (1, 99, 100, 100, MOST),
        (0, 100, 60, 600, 1.0),  # nothing yet, and much time
        (0, 100, 600, 60, 12.5),
        (100, 0, 100, 1, 1.0),  # nothing left
        (1, 99, 100, 0, 1.0),  # too late
    ],
)
def test_urgency(finished: int, remaining: int, elapsed_s: float, left_s: float, factor: float) -> None:
    found = urgency(finished=finished, remaining=remaining, elapsed_s=elapsed_s, left_s=left_s)
    assert found == pytest.approx(factor)


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.floats(0, 10**8), st.floats(-(10**8), 10**8))
def test_urgency_is_bounded(finished: int, remaining: int, elapsed_s: float, left_s: float) -> None:
    found = urgency(finished=finished, remaining=remaining, elapsed_s=elapsed_s, left_s=left_s)
    assert 1.0 <= found <= MOST


@given(st.integers(0, 1000), st.integers(1, 1000), st.floats(0, 10**6), st.floats(1, 10**6), st.floats(0.01, 0.99))
def test_urgency_grows_as_the_deadline_nears(
    finished: int, remaining: int, elapsed_s: float, left_s: float, share: float
) -> None:
    early = urgency(finished=finished, remaining=remaining, elapsed_s=elapsed_s, left_s=left_s)
    late = urgency(
        finished=finished, remaining=remaining, elapsed_s=elapsed_s + left_s * (1 - share), left_s=left_s * share
    )
    assert late >= early - 1e-9
