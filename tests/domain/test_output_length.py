"""How long answers are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.output_length import LEAST_SEEN, MOST_SEEN, LearnedLengths, OutputLengths

lengths = st.integers(1, 10**9)


def seen(*tokens: int) -> OutputLengths:
    found = OutputLengths()
    for each in tokens:
        found.observe(each)
    return found


@given(st.lists(lengths, min_size=LEAST_SEEN, max_size=200), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_is_never_too_low_for_its_share_and_hardly_too_high(tokens: list[int], share: float) -> None:
    found = seen(*tokens).quantile(share)
    assert found is not None
    within = sum(each <= found for each in tokens)
    assert within >= share * len(tokens) - 1e-9
    exact = sorted(tokens)[max(0, -(-int(share * 100) * len(tokens) // 100) - 1)]
    assert found <= exact * 1.1 + 1


def test_nothing_is_concluded_from_a_few() -> None:
    assert seen(*[5] * (LEAST_SEEN - 1)).quantile() is None
    assert seen(*[5] * LEAST_SEEN).quantile() in (5, 6)
    assert seen(*[1] * LEAST_SEEN).quantile() == 1


def test_what_was_long_ago_is_forgotten() -> None:
    found = seen(*[1_000] * MOST_SEEN * 3, *[10] * MOST_SEEN * 3)
    assert (found.quantile() or 0) <= 11


def test_memory_is_bounded_by_what_was_used_last() -> None:
    learned: LearnedLengths[tuple[str, str]] = LearnedLengths(2)
    for key in (("r", "a"), ("r", "b"), ("r", "a"), ("r", "c")):
        for _ in range(LEAST_SEEN):
            learned.observe(key, 7)
    assert len(learned) == 2
    assert learned.quantile(("r", "b")) is None
    assert learned.quantile(("r", "a")) == learned.quantile(("r", "c")) == seen(*[7] * LEAST_SEEN).quantile()
