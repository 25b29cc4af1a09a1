"""When to try a failed attempt again: pure decisions."""

from __future__ import annotations

BASE_MS = 1_000
CAP_MS = 60_000


def backoff_ms(attempts: int, jitter: float, hint_ms: int | None = None) -> int:
    """Delay before the next attempt after `attempts` failed ones (≥ 1).

    Exponential from 1 s, doubling, capped at 60 s, with "equal jitter": half of it fixed, half times `jitter`
    (uniform in [0, 1), drawn by the caller), so a herd spreads and nobody retries at once. A provider's own hint
    (Retry-After, in ms) is a lower bound.
    """
    ceiling = min(CAP_MS, BASE_MS * 2 ** min(attempts - 1, 16))
    delay = int(ceiling / 2 + ceiling / 2 * jitter)
    return max(delay, hint_ms or 0)
