"""What a profile says of a provider: how it limits, what it charges, in which words it reports. Data, no code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MINUTE_PACE = 0.992
"""Share of a limit that a steady stream may use where the provider looks at minutes: above it, a burst comes back as a
gap one minute later."""
SLICES_PACE = 0.98
"""The same where the minute is cut into slices of some seconds: a slice has no room for jitter at its edges."""


class Shape(StrEnum):
    """How a provider counts a limit per minute."""

    BUCKET = "bucket"
    """Refilled continuously; full after a minute of rest."""
    MINUTE = "minute"
    """A counter that starts again each minute, or slides over one."""
    SLICES = "slices"
    """The minute is cut into slices of 1 to 10 s, each with its part of the limit."""
    NONE = "none"
    """No limit; only calls in flight matter."""


class Charging(StrEnum):
    """What a call has cost in tokens once it is over."""

    RESERVED = "reserved"
    """The estimate made when the call arrived, or the use where that is more."""
    ACTUAL_OUTPUT = "actual-output"
    """The estimate of the prompt (or its use, if more), and the tokens really generated."""
    ACTUAL = "actual"
    """What was really used, in and out."""


class OutputReserve(StrEnum):
    """How many output tokens are reserved for a call."""

    REQUESTED = "requested"
    """max_tokens × n, as the provider itself reserves; what was learned only where the request names none."""
    LIKELY = "likely"
    """What answers of the resource were seen to need, never more than max_tokens × n: the provider counts what it
    generates, and reserving all that was allowed would leave most of its limit unused."""


class TokenMeter(StrEnum):
    """Which tokens a token limit of the provider counts."""

    TOTAL = "total"
    """Input and output together."""
    APART = "apart"
    """Input and output each have their own limit."""
    INPUT = "input"
    """Input only."""


class Dialect(StrEnum):
    """In which words a provider reports its limits (scheduler.providers.dialects)."""

    GENERIC = "generic"
    OPENAI = "openai"
    AZURE = "azure"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    GROQ = "groq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How to live with one kind of provider.

    burst_ms: how much may go at once, in ms of the paced rate; a capacity's own burstSeconds goes before it.
    cached_free: prompt tokens read from the provider's cache are not charged.
    quota_zone: whose days its limits per day and longer count: "" is UTC, "us-pacific" (domain.work.Limit).
    failed_calls_free: a call that was sent and failed is not charged.
    remaining_is_live: what its headers say is left is the state now, not one of some time ago.
    no_credit_codes / _endings / _phrases: error codes or types, their endings, and beginnings of messages (all in lower
    case) that say that the account, not the moment, stands in the way.
    growth_codes: codes or types of a 429 that refuses how fast the use grew.
    passing_statuses: its own statuses below 500 that say that it cannot serve now.
    silent_429_is_final: a 429 that names no wait, although no reported limit is used up, is about money.
    """

    name: str
    shape: Shape
    pace: float = MINUTE_PACE
    burst_ms: int = 1_000
    output_reserve: OutputReserve = OutputReserve.REQUESTED
    charging: Charging = Charging.RESERVED
    token_meter: TokenMeter = TokenMeter.TOTAL
    cached_free: bool = False
    failed_calls_free: bool = False
    dialect: Dialect = Dialect.GENERIC
    quota_zone: str = ""
    remaining_is_live: bool = True
    no_credit_codes: frozenset[str] = frozenset(
        {
            "insufficient_quota",
            "credit_balance_exhausted",
            "billing_hard_limit_reached",
            "billing_not_active",
            "access_terminated",
        }
    )
    no_credit_endings: tuple[str, ...] = ("_spend_limit_exceeded", "_usage_limit_exceeded")
    no_credit_phrases: tuple[str, ...] = ()
    growth_codes: frozenset[str] = frozenset({"slow_down"})
    passing_statuses: frozenset[int] = frozenset()
    silent_429_is_final: bool = False
