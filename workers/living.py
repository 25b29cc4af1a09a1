"""Which workers live, as far as this process knows: what a living one does not hold any more did not kill it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

LONGEST_S = 5.0
"""More than two beats: a sign of life may be late by one."""
SHARE = 0.5
"""A sign of life that is older than this share of a lease says nothing: a lease that ends now was granted or renewed
before it, so its holder may have died with it since."""


class Living:
    """Keeps when each worker was last known to live. clock: monotonic seconds."""

    def __init__(self, lease_ms: int, clock: Callable[[], float]) -> None:
        self._within_s = min(LONGEST_S, SHARE * lease_ms / 1000)
        self._clock = clock
        self._seen_s: dict[str, float] = {}

    def observe(self, ages_s: Mapping[str, float], asked_s: float) -> None:
        """Workers that gave a sign of life so many seconds before `asked_s`, or a little less; others are forgotten."""
        self._seen_s = {holder: asked_s - age_s for holder, age_s in ages_s.items()}

    def now(self) -> list[str]:
        """Those that surely lived a moment ago."""
        since_s = self._clock() - self._within_s
        return [holder for holder, seen_s in self._seen_s.items() if seen_s >= since_s]
