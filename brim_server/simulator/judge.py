"""The exact worst minute at the door, whatever the limiter's shape."""

from array import array
from dataclasses import dataclass

WINDOW_US = 60_000_000


@dataclass(slots=True)
class Worst:
    """The most that any sliding 60 s held."""

    requests: int = 0
    tokens: int = 0


class Judge:
    """A log of every arrival of the last 60 s: 17 bytes each, exact to the microsecond.

    A window is [t, t + 60 s): two arrivals exactly 60 s apart are never in one. The worst window always
    ends at an arrival, so looking once per arrival misses none.
    """

    __slots__ = ("_admitted", "_head", "_now", "_now_admitted", "_times_us", "_tokens", "admitted", "arrived")

    def __init__(self) -> None:
        self._times_us = array("q")
        self._tokens = array("q")
        self._admitted = array("b")
        self._head = 0
        self._now = Worst()
        self._now_admitted = Worst()
        self.arrived = Worst()
        """Over all arrivals, refused ones included."""
        self.admitted = Worst()
        """Over what the limiter let in."""

    def arrival(self, now_us: int, tokens: int, admitted: bool) -> None:
        """Note one arrival; `now_us` never runs backwards."""
        self._forget(now_us - WINDOW_US)
        self._times_us.append(now_us)
        self._tokens.append(tokens)
        self._admitted.append(admitted)
        _add(self._now, self.arrived, tokens)
        if admitted:
            _add(self._now_admitted, self.admitted, tokens)

    def _forget(self, edge_us: int) -> None:
        times_us, head = self._times_us, self._head
        end = len(times_us)
        while head < end and times_us[head] <= edge_us:
            tokens = self._tokens[head]
            self._now.requests -= 1
            self._now.tokens -= tokens
            if self._admitted[head]:
                self._now_admitted.requests -= 1
                self._now_admitted.tokens -= tokens
            head += 1
        if head > 4096 and head * 2 > end:
            del self._times_us[:head], self._tokens[:head], self._admitted[:head]
            head = 0
        self._head = head


def _add(now: Worst, worst: Worst, tokens: int) -> None:
    now.requests += 1
    now.tokens += tokens
    if now.requests > worst.requests:
        worst.requests = now.requests
    if now.tokens > worst.tokens:
        worst.tokens = now.tokens
