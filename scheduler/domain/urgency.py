"""How much more a batch weighs because of its deadline: pure."""

from __future__ import annotations

MOST = 16.0
"""However late it is, it weighs no more than so many times its priority's weight: nobody else starves for it."""
MARGIN = 1.25
"""It shall be done with a fifth of its time to spare."""
LEAST_LEFT_S = 1.0


def urgency(*, finished: int, remaining: int, elapsed_s: float, left_s: float) -> float:
    """The factor of a batch's weight, 1 to MOST: the time that the rest takes at the pace so far, over the time left.

    finished / remaining: items. elapsed_s: since it was made, left_s: until its deadline (≤ 0: it has passed, then no
    weight helps it any more: 1). A batch of which nothing has finished yet is taken to need as long as it has waited.
    """
    if remaining <= 0 or left_s <= 0:
        return 1.0
    needed_s = elapsed_s * remaining / finished if finished > 0 else elapsed_s
    return min(max(MARGIN * needed_s / max(left_s, LEAST_LEFT_S), 1.0), MOST)
