"""What a caller who named something unknown probably meant."""

from __future__ import annotations

import pytest

from scheduler.services.reading.meant import did_you_mean, nearest


@pytest.mark.parametrize(
    ("name", "meant"),
    [("gpt-4o-mni", "gpt-4o-mini"), ("GPT-4o-mini", "gpt-4o-mini"), ("Claude-Sonet", "claude-sonnet"), ("llama", None)],
)
def test_the_most_alike_is_found_whatever_its_case(name: str, meant: str | None) -> None:
    assert nearest(name, ["gpt-4o-mini", "gpt-4o", "claude-sonnet"]) == meant


def test_it_follows_a_sentence_or_is_nothing() -> None:
    assert did_you_mean("prods", ["prod"]) == " Did you mean prod?"
    assert did_you_mean("prods", []) == ""
    assert did_you_mean("x" * 1_000_000, [f"y{number}" for number in range(6)]) == ""


def test_where_none_is_alike_few_are_named() -> None:
    assert did_you_mean("x" * 1_000_000, ["y", "o3"]) == " There is: o3, y."
