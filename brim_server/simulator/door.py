"""Who is let in: requests and tokens checked together, then spent together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from brim_server.simulator.meters import Meter, meter_of
from brim_server.simulator.options import Options

Dimension = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """The call was let in and both meters were charged."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The call came too early; nothing was charged."""

    dimension: Dimension
    limit: int
    used: int
    requested: int
    retry_after_us: int


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The call can never fit: it asks for more than a whole minute's limit."""

    dimension: Dimension
    limit: int
    requested: int


Verdict = Admitted | Refused | TooLarge

ADMITTED = Admitted()


class Door:
    """The limits of one account. Time is an argument, in microseconds that never run backwards."""

    __slots__ = ("_meters",)

    def __init__(self, requests: Meter | None, tokens: Meter | None) -> None:
        pairs: list[tuple[Dimension, Meter | None]] = [("requests", requests), ("tokens", tokens)]
        self._meters: tuple[tuple[Dimension, Meter], ...] = tuple((d, m) for d, m in pairs if m is not None)

    @classmethod
    def of(cls, options: Options) -> "Door":
        """A door with the limits of the options, fresh."""
        return cls(meter_of(options, options.rpm), meter_of(options, options.tpm))

    def ask(self, tokens: int, now_us: int) -> Verdict:
        """Let in one request of so many tokens, or say why not: of two limits the one that takes longer."""
        longest: Refused | None = None
        for dimension, meter in self._meters:
            requested = 1 if dimension == "requests" else tokens
            if requested > meter.limit:
                return TooLarge(dimension, meter.limit, requested)
            wait_us = meter.wait_us(requested, now_us)
            if wait_us and (longest is None or wait_us > longest.retry_after_us):
                used = meter.limit - meter.room(now_us)
                longest = Refused(dimension, meter.limit, used, requested, wait_us)
        if longest is not None:
            return longest
        for dimension, meter in self._meters:
            meter.spend(1 if dimension == "requests" else tokens, now_us)
        return ADMITTED

    def rates(self, now_us: int) -> Iterator[tuple[Dimension, int, int, int]]:
        """(dimension, limit, remaining, reset_us) of each limit there is, for the rate headers."""
        for dimension, meter in self._meters:
            yield dimension, meter.limit, meter.room(now_us), meter.full_in_us(now_us)
