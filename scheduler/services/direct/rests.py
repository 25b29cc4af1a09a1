"""How long a budget rests that a direct call found used up: what this process saw, without any I/O of its own."""

from __future__ import annotations

FIRST_UNSAID_MS = 1_000
LONGEST_UNSAID_MS = 60_000
"""How long one rests that said "too much" and not until when: doubling each time in a row."""
REMEMBERED = 10_000
"""Budgets remembered at once. All are forgotten for one more: then pauses in a row begin anew."""


class Rests:
    """Counts, per budget, limits in a row that did not say for how long. Times are monotonic seconds.

    Many calls in flight are refused together: only the first of them counts, the others find that the budget rests.
    """

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._until_s: dict[str, float] = {}

    @property
    def known(self) -> bool:
        """Whether a limit was hit that did not say for how long, and no answer came since."""
        return bool(self._times)

    def limited(self, budget: str, after_ms: int, now_s: float) -> int | None:
        """A limit was hit. Answers for how long to pause the budget, in ms; None: a pause runs already. after_ms: what
        the provider told, which always counts; 0: it did not say."""
        until_s = self._until_s.get(budget, 0.0)
        if not after_ms and now_s < until_s:
            return None
        if budget not in self._until_s and len(self._until_s) >= REMEMBERED:
            self._until_s.clear()
            self._times.clear()
        pause_ms = after_ms or self._grown(budget)
        self._until_s[budget] = max(until_s, now_s + pause_ms / 1000)
        return pause_ms

    def failed(self, budget: str) -> None:
        """The pause could not be asked for: whoever is refused next asks again."""
        self._until_s.pop(budget, None)

    def answered(self, budget: str) -> None:
        """The next pause is the first in a row again. One that runs goes on."""
        self._times.pop(budget, None)

    def _grown(self, budget: str) -> int:
        times = self._times.get(budget, 0)
        self._times[budget] = times + 1
        return min(LONGEST_UNSAID_MS, FIRST_UNSAID_MS << min(times, 16))
