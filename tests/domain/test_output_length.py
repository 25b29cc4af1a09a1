"""How long answers are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.output_length import (
    LEAST_SEEN,
    MOST_RESERVED,
    MOST_SEEN,
    LearnedLengths,
    News,
    OutputGuess,
    OutputLengths,
)

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


def test_news_is_told_once_and_again_when_it_did_not_arrive() -> None:
    learned: LearnedLengths[str] = LearnedLengths(2)
    for _ in range(LEAST_SEEN):
        learned.observe("a", 1)
    learned.observe("b", 1)
    news = learned.take_news()
    assert news == [News("a", 1, LEAST_SEEN)]
    assert learned.take_news() == []
    learned.observe("a", 1)
    learned.put_back(news)
    assert learned.take_news() == [News("a", 1, LEAST_SEEN + 1)]


def test_what_is_forgotten_is_no_news() -> None:
    learned: LearnedLengths[str] = LearnedLengths(1)
    for _ in range(LEAST_SEEN):
        learned.observe("a", 1)
    news = learned.take_news()
    for _ in range(LEAST_SEEN):
        learned.observe("b", 2)
    learned.put_back(news)
    assert [each.key for each in learned.take_news()] == ["b"]
    learned.observe("a", 1)
    assert learned.take_news() == []


def test_a_guess_counts_every_answer_and_stays_within_what_the_request_allows() -> None:
    assert OutputGuess().tokens(300) == 300
    assert OutputGuess(copies=3).tokens(300) == 900
    assert OutputGuess(copies=3, most_tokens=500).tokens(300) == 500
    assert OutputGuess(copies=10**9).tokens(300) == MOST_RESERVED
