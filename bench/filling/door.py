"""The provider's door: every limiter shape and the exact judge look at the same arrivals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from brim_server.simulator.judge import Judge
from brim_server.simulator.meters import Bucket, Meter, Slices, Sliding

SHAPES = ("bucket 60 s", "bucket 1 s", "sliding", "minute", "slices 10 s")
WARM_US = 60_000_000
"""The first minute is not counted in shares: nothing slides out of a window before it is full."""


def meter(shape: str, limit: int) -> Meter:
    """A fresh limiter of one dimension."""
    match shape:
        case "bucket 60 s":
            return Bucket(limit, 60.0)
        case "bucket 1 s":
            return Bucket(limit, 1.0)
        case "sliding":
            return Sliding(limit)
        case "minute":
            return Slices(limit, 60.0)
        case "slices 10 s":
            return Slices(limit, 10.0)
    raise ValueError(f"shape must be one of {', '.join(SHAPES)}, not {shape!r}")


@dataclass(slots=True)
class Watched:
    """What one limiter shape made of the arrivals. The first figures count from the second minute on."""

    requests: Meter | None
    tokens: Meter | None
    admitted: int = 0
    admitted_tokens: int = 0
    refused: int = 0
    refused_in_minute: dict[int, int] = field(default_factory=dict)

    def wait_us(self, tokens: int, now_us: int) -> int:
        """How long a request must wait; 0: admitted."""
        return max(
            self.requests.wait_us(1, now_us) if self.requests else 0,
            self.tokens.wait_us(tokens, now_us) if self.tokens and tokens else 0,
        )

    def spend(self, tokens: int, now_us: int) -> None:
        """Take what `wait_us` said is free."""
        if self.requests:
            self.requests.spend(1, now_us)
        if self.tokens and tokens:
            self.tokens.spend(tokens, now_us)


@dataclass(slots=True)
class Door:
    """One account at a provider. answers: the shape whose refusals the caller gets; None: the caller gets none,
    and each shape lets in what it would."""

    start_us: int
    requests: int | None = None
    tokens: int | None = None
    shapes: tuple[str, ...] = SHAPES
    answers: str | None = None
    judge: Judge = field(default_factory=Judge)
    arrivals: int = 0
    per_second: dict[int, list[int]] = field(default_factory=dict)
    """Second of the run → [requests, tokens] that arrived."""
    watched: dict[str, Watched] = field(init=False)

    def __post_init__(self) -> None:
        self.watched = {
            shape: Watched(
                meter(shape, self.requests) if self.requests else None,
                meter(shape, self.tokens) if self.tokens else None,
            )
            for shape in self.shapes
        }

    def arrive(self, now_us: int, tokens: int) -> int | None:
        """One call comes in: None when it is let in, else after how many ms it may come again."""
        warm = now_us - self.start_us >= WARM_US
        self.arrivals += 1
        second = self.per_second.setdefault((now_us - self.start_us) // 1_000_000, [0, 0])
        second[0] += 1
        second[1] += tokens
        answer: int | None = None
        admitted = True
        for shape, watched in self.watched.items():
            wait_us = watched.wait_us(tokens, now_us)
            if wait_us == 0:
                watched.spend(tokens, now_us)
                watched.admitted += warm
                watched.admitted_tokens += tokens if warm else 0
            else:
                watched.refused += 1
                minute = (now_us - self.start_us) // 60_000_000
                watched.refused_in_minute[minute] = watched.refused_in_minute.get(minute, 0) + 1
                if shape == self.answers:
                    admitted = False
                    answer = max(1, math.ceil(wait_us / 1000))
        self.judge.arrival(now_us, tokens, admitted)
        return answer

    def rates(self, shape: str, now_us: int) -> list[tuple[str, int, int, int]]:
        """What that shape's answers say: (requests or tokens, limit, remaining, reset_ms)."""
        watched = self.watched[shape]
        both = (("requests", watched.requests), ("tokens", watched.tokens))
        return [
            (name, meter.limit, max(0, meter.room(now_us)), -(-meter.full_in_us(now_us) // 1000))
            for name, meter in both
            if meter is not None
        ]

    def change(self, requests: int, now_us: int) -> None:
        """Another request limit from now on; what was used stays used. Only for `sliding` and buckets."""
        self.requests = requests
        for shape, watched in self.watched.items():
            known = watched.requests
            if isinstance(known, Sliding):
                known.limit = requests
            elif isinstance(known, Bucket):
                watched.requests = fresh = meter(shape, requests)
                missing = fresh.room(now_us) - known.room(now_us)
                if missing > 0:
                    fresh.spend(missing, now_us)

    def share_used(self, shape: str, end_us: int) -> float:
        """Let in from the second minute on, against the tighter limit for that time."""
        minutes = (end_us - self.start_us - WARM_US) / 60_000_000
        watched = self.watched[shape]
        shares = []
        if self.requests:
            shares.append(watched.admitted / (self.requests * minutes))
        if self.tokens:
            shares.append(watched.admitted_tokens / (self.tokens * minutes))
        return max(shares)

    def share_refused(self, shape: str) -> float:
        """Of all arrivals."""
        return self.watched[shape].refused / self.arrivals if self.arrivals else 0.0

    def worst(self) -> int:
        """The most that any sliding 60 s of arrivals held, in the unit of the limit that is set."""
        return self.judge.arrived.tokens if self.tokens else self.judge.arrived.requests

    def limit(self) -> int:
        """The limit that `worst` is measured against."""
        return self.tokens or self.requests or 0
