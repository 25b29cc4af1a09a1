"""When a connection must rest: what this process saw of it, without any I/O of its own."""

from __future__ import annotations

TRIP_CALLS = 20
"""So many calls in a row that were not served open the circuit."""
OUT_OF_SERVICE = frozenset({"PROVIDER_498", "PROVIDER_502", "PROVIDER_503", "PROVIDER_504", "PROVIDER_529"})
"""Codes of answers that are about the provider, whatever was asked: it, or a gateway before it, cannot serve now. Not
500, which a single request may cause."""
FIRST_PAUSE_MS = 1_000
LONGEST_PAUSE_MS = 30_000
LONGEST_UNSAID_MS = 60_000
"""Growing pauses end here: of an unreachable connection, and of a limit that does not say how long."""


class Circuit:
    """Counts, per budget of a connection or a model, calls in a row that were not served (no HTTP answer came, or one
    that the provider is out of service), and limits hit in a row.

    Times are monotonic seconds. A pause that is still running is never asked for again: hundreds of calls
    in flight fail together, and each would double it.
    """

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._pauses: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._until_s: dict[str, float] = {}

    def answered(self, budget: str) -> None:
        """An answer came that was no limit, and not that it is out of service: the connection works."""
        for memory in (self._failures, self._pauses, self._limits):
            if memory:
                memory.pop(budget, None)

    @property
    def remembers(self) -> bool:
        """Whether any call was not served, or hit a limit that did not say for how long, and none answered since."""
        return bool(self._failures or self._pauses or self._limits)

    def is_open(self, budget: str) -> bool:
        """Whether so many calls in a row were not served that it rests, or is only probed."""
        return self._failures.get(budget, 0) >= TRIP_CALLS

    def failed(self, budget: str, now_s: float) -> int | None:
        """A call was not served. Answers for how long to pause the budget, in ms; None: not (again)."""
        failures = self._failures.get(budget, 0) + 1
        self._failures[budget] = failures
        if failures < TRIP_CALLS or self._resting(budget, now_s):
            return None
        return self._start(budget, _grown(self._pauses, budget, LONGEST_PAUSE_MS), now_s)

    def limited(self, budget: str, after_ms: int, now_s: float) -> int | None:
        """A limit was hit. after_ms 0: the provider did not say how long; then 1 s, doubling each time in
        a row."""
        if self._failures:
            self._failures.pop(budget, None)
        if after_ms:
            return self._start(budget, after_ms, now_s)
        if self._resting(budget, now_s):
            return None
        return self._start(budget, _grown(self._limits, budget, LONGEST_UNSAID_MS), now_s)

    def _resting(self, budget: str, now_s: float) -> bool:
        return now_s < self._until_s.get(budget, 0.0)

    def _start(self, budget: str, pause_ms: int, now_s: float) -> int | None:
        """Note the pause; None when one runs already that ends as late, to within a tenth."""
        running_until_s = self._until_s.get(budget, 0.0)
        until_s = now_s + pause_ms / 1000
        if now_s < running_until_s and until_s <= running_until_s + 0.1 * pause_ms / 1000:
            return None
        self._until_s[budget] = max(until_s, running_until_s)
        return pause_ms


def _grown(counts: dict[str, int], budget: str, longest_ms: int) -> int:
    """The next pause in a row: FIRST_PAUSE_MS, doubling up to longest_ms."""
    count = counts.get(budget, 0)
    counts[budget] = count + 1
    return longest_ms if count > 16 else min(longest_ms, FIRST_PAUSE_MS << count)
