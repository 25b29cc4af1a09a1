"""When to try a failed attempt again, and when a budget that was told to wait: pure decisions."""

from __future__ import annotations

from hashlib import sha256

BASE_MS = 1_000
CAP_MS = 60_000

SPREAD_SHARE = 0.1
SPREAD_LEAST_MS, SPREAD_MOST_MS = 50, 2_000
SPREAD_WINDOW_S = 60


def backoff_ms(attempts: int, jitter: float, hint_ms: int | None = None) -> int:
    """Delay before the next attempt after `attempts` failed ones (≥ 1).

    Exponential from 1 s, doubling, capped at 60 s, with "equal jitter": half of it fixed, half times `jitter`
    (uniform in [0, 1), drawn by the caller), so a herd spreads and nobody retries at once. A provider's own hint
    (Retry-After, in ms) is a lower bound.
    """
    ceiling = min(CAP_MS, BASE_MS * 2 ** min(attempts - 1, 16))
    delay = int(ceiling / 2 + ceiling / 2 * jitter)
    return max(delay, hint_ms or 0)


def spread_ms(told_ms: int, budget_id: str, wall_s: float) -> int:
    """How long to rest when told to rest for told_ms: never less, and up to a tenth more (50 ms at least, 2 s at most).

    A provider tells the same moment to everybody on one account; each installation has a moment of its own, because its
    budgets have ids of their own. All processes of one installation agree, as far as their wall clocks (wall_s) are in
    the same minute: it is drawn anew each minute, so that two that are close do not stay so.
    """
    most_ms = min(max(told_ms * SPREAD_SHARE, SPREAD_LEAST_MS), SPREAD_MOST_MS)
    drawn = sha256(f"{budget_id}:{int(wall_s // SPREAD_WINDOW_S)}".encode()).digest()[:4]
    return told_ms + int(most_ms * int.from_bytes(drawn) / 2**32)
