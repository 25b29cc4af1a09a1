"""The ways in which providers meter one dimension (requests, or tokens) per minute.

A meter knows no clock: every method takes `now_us`, microseconds of any epoch that never run backwards;
`minute` and `slices` are aligned to multiples of it. Whole numbers throughout, so that a caller who waits
exactly as long as it was told is admitted. Amounts are at least 1 and at most `limit`.
"""

from array import array
from typing import Final, Protocol

from brim_server.simulator.options import Options

MINUTE_US: Final = 60_000_000


class Meter(Protocol):
    """One limit of one dimension. Only `spend` changes what is left; what is refused costs nothing."""

    @property
    def limit(self) -> int:
        """Per minute."""
        ...

    def room(self, now_us: int) -> int:
        """How much would be admitted now."""
        ...

    def wait_us(self, amount: int, now_us: int) -> int:
        """How long until `amount` would be admitted if nothing else came; 0: now."""
        ...

    def spend(self, amount: int, now_us: int) -> None:
        """Take `amount`, which `wait_us` just said is free."""
        ...

    def full_in_us(self, now_us: int) -> int:
        """How long until everything is free again if nothing else came."""
        ...


class Bucket:
    """Continuous refill at `limit` a minute; starts full; holds `bucket_s` seconds of the limit, at least 1.

    An amount above what the bucket holds needs it full, and leaves a debt.
    """

    __slots__ = ("_at_us", "_capacity", "_level", "limit")

    # Levels are kept in 1/MINUTE_US of a unit: the refill per microsecond is then `limit`, exactly.
    def __init__(self, limit: int, bucket_s: float = 60.0) -> None:
        self.limit = limit
        self._capacity = max(limit * round(bucket_s * 1_000_000), MINUTE_US)
        self._level = self._capacity
        self._at_us = 0

    def _refill(self, now_us: int) -> None:
        elapsed_us = now_us - self._at_us
        if elapsed_us > 0:
            self._level = min(self._capacity, self._level + self.limit * elapsed_us)
            self._at_us = now_us

    def room(self, now_us: int) -> int:
        self._refill(now_us)
        return max(self._level, 0) // MINUTE_US

    def wait_us(self, amount: int, now_us: int) -> int:
        self._refill(now_us)
        missing = min(amount * MINUTE_US, self._capacity) - self._level
        return -(-missing // self.limit) if missing > 0 else 0

    def spend(self, amount: int, now_us: int) -> None:
        self._refill(now_us)
        self._level -= amount * MINUTE_US

    def full_in_us(self, now_us: int) -> int:
        self._refill(now_us)
        return -(-(self._capacity - self._level) // self.limit)


class Sliding:
    """Never more than `limit` in any 60 s: an exact log of what was admitted in the last minute.

    A call leaves the window exactly 60 s after it came.
    """

    __slots__ = ("_amounts", "_head", "_times_us", "_used", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._times_us = array("q")
        self._amounts = array("q")
        self._head = 0
        self._used = 0

    def _expire(self, now_us: int) -> None:
        times_us, head, edge_us = self._times_us, self._head, now_us - MINUTE_US
        end = len(times_us)
        while head < end and times_us[head] <= edge_us:
            self._used -= self._amounts[head]
            head += 1
        if head > 4096 and head * 2 > end:  # compact seldom: amortised constant, memory at most twice the log
            del self._times_us[:head], self._amounts[:head]
            head = 0
        self._head = head

    def room(self, now_us: int) -> int:
        self._expire(now_us)
        return self.limit - self._used

    def wait_us(self, amount: int, now_us: int) -> int:
        self._expire(now_us)
        missing = self._used + amount - self.limit
        if missing <= 0:
            return 0
        index = self._head
        while missing > self._amounts[index]:
            missing -= self._amounts[index]
            index += 1
        return self._times_us[index] + MINUTE_US - now_us

    def spend(self, amount: int, now_us: int) -> None:
        self._times_us.append(now_us)
        self._amounts.append(amount)
        self._used += amount

    def full_in_us(self, now_us: int) -> int:
        self._expire(now_us)
        return self._times_us[-1] + MINUTE_US - now_us if self._used else 0


class Slices:
    """A counter per aligned slice of `slice_s` seconds, each worth its part of the limit, at least 1.

    With 60 s this is the fixed minute. An amount above a slice needs one that is wholly free, and
    what it took too much is missing from the following ones.
    """

    __slots__ = ("_capacity", "_index", "_slice_us", "_used", "limit")

    def __init__(self, limit: int, slice_s: float = 60.0) -> None:
        self.limit = limit
        self._slice_us = round(slice_s * 1_000_000)
        self._capacity = max(limit * self._slice_us // MINUTE_US, 1)
        self._index = 0
        self._used = 0

    def _roll(self, now_us: int) -> None:
        index = now_us // self._slice_us
        if index > self._index:
            self._used = max(0, self._used - self._capacity * (index - self._index))
            self._index = index

    def room(self, now_us: int) -> int:
        self._roll(now_us)
        return max(0, self._capacity - self._used)

    def wait_us(self, amount: int, now_us: int) -> int:
        self._roll(now_us)
        excess = self._used + min(amount, self._capacity) - self._capacity
        return self._start_us(-(-excess // self._capacity)) - now_us if excess > 0 else 0

    def spend(self, amount: int, now_us: int) -> None:
        self._roll(now_us)
        self._used += amount

    def full_in_us(self, now_us: int) -> int:
        self._roll(now_us)
        return self._start_us(-(-self._used // self._capacity)) - now_us if self._used else 0

    def _start_us(self, slices_ahead: int) -> int:
        return (self._index + slices_ahead) * self._slice_us


def meter_of(options: Options, limit: int | None) -> Meter | None:
    """A fresh meter of the options' shape; None: unlimited."""
    if limit is None:
        return None
    match options.shape:
        case "bucket":
            return Bucket(limit, options.bucket_s)
        case "sliding":
            return Sliding(limit)
        case "minute":
            return Slices(limit, 60.0)
        case "slices":
            return Slices(limit, options.slice_s)
