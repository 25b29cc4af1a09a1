"""What a person configures as a limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Period(StrEnum):
    """How long a capacity counts. SECOND and MINUTE slide; the others are aligned UTC periods."""

    SECOND = "SECOND"
    MINUTE = "MINUTE"
    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    LIFETIME = "LIFETIME"


@dataclass(frozen=True, slots=True)
class Capacity:
    """At most `requests` requests and `tokens` tokens in a period; None means no limit of that kind.

    burst_seconds: how much of a paced budget may go at once, in seconds of its rate; None is the profile's.
    dimension: "source-ip" keeps a separate account per caller address (API keys only).
    """

    period: Period
    requests: int | None = None
    tokens: int | None = None
    enabled: bool = True
    burst_seconds: float | None = None
    dimension: str | None = None


def largest_item_tokens(capacities: Iterable[Capacity]) -> int | None:
    """The largest item, in tokens, that all enabled capacities could ever admit; None when unlimited."""
    return min((c.tokens for c in capacities if c.enabled and c.tokens is not None), default=None)
