"""Capacities as callers write them and as we show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from scheduler.domain.capacity import Capacity, Period

Count = Annotated[int, Meta(ge=1, le=10**15)]
"""A limit: at least 1; engines count in doubles, which are exact up to here."""
Slots = Annotated[int, Meta(ge=1, le=10**9)]
"""A number of calls in flight."""
Seconds = Annotated[float, Meta(gt=0, le=3600)]


class CapacityBody(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """One capacity; the period may be in any case and is answered in upper case."""

    period: str
    requests: Count | None = None
    tokens: Count | None = None
    enabled: bool = True
    burst_seconds: Seconds | None = None
    dimension: Literal["source-ip"] | None = None

    def __post_init__(self) -> None:
        if self.period.upper() not in Period.__members__:
            raise ValueError(f"`period` must be one of {', '.join(Period)}")


def capacities_of(bodies: Sequence[CapacityBody]) -> tuple[Capacity, ...]:
    """Checked bodies as the domain's capacities."""
    return tuple(
        Capacity(
            Period(body.period.upper()),
            body.requests,
            body.tokens,
            body.enabled,
            body.burst_seconds,
            body.dimension,
        )
        for body in bodies
    )


def bodies_of(capacities: Iterable[Capacity]) -> list[CapacityBody]:
    """Capacities as they are shown."""
    return [
        CapacityBody(
            period=capacity.period.value,
            requests=capacity.requests,
            tokens=capacity.tokens,
            enabled=capacity.enabled,
            burst_seconds=capacity.burst_seconds,
            dimension="source-ip" if capacity.dimension else None,
        )
        for capacity in capacities
    ]
