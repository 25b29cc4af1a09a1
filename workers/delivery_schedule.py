"""When a callback is tried again, and when it is given up: pure."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAYS_S = (1.0, 3.0, 10.0, 30.0, 120.0)
LONGEST_DELAY_S = 3_600.0
GIVEN_UP_AFTER_S = 24 * 3_600.0
JITTER = 0.2
_AGAIN = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver took it (2xx)."""


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after delay_s."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Dead:
    """Not tried any more; shown to users with this reason."""

    reason: str


Verdict = Delivered | Again | Dead


def judge(
    status: int | None, problem: str, *, attempts: int, age_s: float, retry_after_s: float | None, jitter: float
) -> Verdict:
    """What becomes of a delivery after a try.

    status None: no answer came, `problem` says why. attempts: tries before this one. age_s: since the
    event. Delays are 1 s, 3 s, 10 s, 30 s, 2 min, then doubling to 1 h, each up to a fifth longer
    (jitter: uniform in [0, 1)), and never shorter than the receiver asks for. A try that would come later
    than 24 h after the event is not made.
    """
    if status is not None and 200 <= status < 300:
        return Delivered()
    if status is not None and status < 500 and status not in _AGAIN:
        return Dead(f"The receiver answered {status}.")
    delay_s = _delay_s(attempts) * (1 + JITTER * jitter)
    if retry_after_s is not None:
        delay_s = max(delay_s, retry_after_s)
    if age_s + delay_s > GIVEN_UP_AFTER_S:
        last = problem if status is None else f"The receiver answered {status}."
        return Dead(f"Given up after {attempts + 1} tries in 24 h. {last}")
    return Again(delay_s)


def _delay_s(attempts: int) -> float:
    if attempts < len(FIRST_DELAYS_S):
        return FIRST_DELAYS_S[attempts]
    doublings = min(attempts - len(FIRST_DELAYS_S) + 1, 16)
    return min(LONGEST_DELAY_S, FIRST_DELAYS_S[-1] * 2.0**doublings)
