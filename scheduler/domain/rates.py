"""What a provider's answer said about its limits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scheduler.domain.capacity import Period


class Dimension(StrEnum):
    """What a provider's limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    """Input and output together, or as the provider sums them up."""
    INPUT_TOKENS = "input-tokens"
    OUTPUT_TOKENS = "output-tokens"


@dataclass(frozen=True, slots=True)
class ReportedLimit:
    """One limit as one answer reported it; None where it did not say.

    period: None: it cannot be told. limit: of the period, 0 for "nothing at all". remaining: what is left of it, after
    the call that it came with.
    reset_ms: from the answer until all of it is available again. rounded_to: figures are multiples of this.
    pool: "" for the account's own limit, "project" for one of a part of it; the tighter one binds.
    """

    dimension: Dimension
    period: Period | None
    limit: int | None
    remaining: int | None
    reset_ms: int | None
    rounded_to: int = 1
    pool: str = ""


@dataclass(frozen=True, slots=True)
class RateReport:
    """All limits of one answer; never empty (an answer that reports none has no report)."""

    limits: tuple[ReportedLimit, ...]

    @property
    def used_up(self) -> tuple[ReportedLimit, ...]:
        """Those of which nothing is left."""
        return tuple(each for each in self.limits if each.remaining == 0)
