"""How many entries a claim asks for."""

from __future__ import annotations

from workers.claim_size import GROWTH, SMALLEST, ClaimSize


def test_late_calls_halve_the_next_claims_down_to_the_smallest() -> None:
    size = ClaimSize(100)
    for expected in (50, 25, 12, 6, SMALLEST, SMALLEST):
        size.was_late()
        size.adapt(full=True)
        assert size.entries == expected


def test_full_claims_in_time_grow_again_up_to_the_largest() -> None:
    size = ClaimSize(100)
    size.was_late()
    size.was_late()
    size.adapt(full=False)
    assert size.entries == 50, "many late calls of one claim halve it once"
    size.adapt(full=False)
    assert size.entries == 50
    size.adapt(full=True)
    assert size.entries == 50 + GROWTH
    for _ in range(10):
        size.adapt(full=True)
    assert size.entries == 100
