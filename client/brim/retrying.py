"""When to try again, and after how long. Decisions only: the clients sleep."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .errors import ApiError, BrimError, ConnectionFailed, Unavailable

# 429 is not among them: too much is waiting, and only the caller knows whether to wait as well.
_RETRIED_STATUSES = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient a client is.

    A call is tried at most `attempts` times. A broken event stream is resumed `stream_attempts` times in a
    row without a single new event in between; any event starts the count again. Pauses double from
    `first_pause_s` to `longest_pause_s`, each drawn between half and the whole of it; a server's Retry-After
    counts if it is longer, up to `longest_advice_s`.
    """

    attempts: int = 5
    stream_attempts: int = 30
    first_pause_s: float = 0.2
    longest_pause_s: float = 10.0
    longest_advice_s: float = 120.0

    def pause_s(self, failures: int, error: BrimError | None = None) -> float:
        """Seconds to wait after that many failures in a row (1 or more), the last of them `error`."""
        # The exponent is bounded: 2.0 ** 1100 would overflow.
        full_s = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(failures - 1, 30))
        pause_s = random.uniform(full_s / 2, full_s)
        match error:
            case Unavailable(retry_after_s=advice_s) if advice_s is not None:
                # A little more than advised, so that a crowd does not return at the same instant.
                return max(pause_s, min(advice_s, self.longest_advice_s) + pause_s * 0.1)
            case _:
                return pause_s


def worth_retrying(error: BrimError) -> bool:
    """Whether repeating the same request may help, provided that repeating it is harmless."""
    match error:
        case ConnectionFailed():
            return True
        case ApiError(status=409, code="IN_PROGRESS"):
            # The first try of the same idempotency key is still being worked on.
            return True
        case ApiError(status=status):
            return status in _RETRIED_STATUSES
        case _:
            return False


class Tries:
    """Counts the failures of one call and says what to do after each."""

    def __init__(self, policy: RetryPolicy, *, repeatable: bool) -> None:
        self._policy = policy
        self._repeatable = repeatable
        self._failures = 0

    def pause_s_after(self, error: BrimError) -> float:
        """Seconds to wait before the next try. Raises `error` when there is to be none."""
        self._failures += 1
        if not (self._repeatable and worth_retrying(error)) or self._failures >= self._policy.attempts:
            raise error
        return self._policy.pause_s(self._failures, error)
