"""What an attempt can end in, and the record that an item's run ends in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from scheduler.domain.rates import RateReport
from scheduler.domain.status import ItemStatus


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reported them; None where it did not say.

    cached_tokens: part of the prompt tokens that was read from the provider's cache. reasoning_tokens: part of the
    output tokens that nobody sees.
    """

    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The provider answered. body: its JSON bytes as received. headers: the ones shown to users, lower-case names.

    rates, here and below: what the answer said about the provider's limits; None: nothing.
    """

    body: bytes
    headers: dict[str, str]
    usage: Usage
    rates: RateReport | None = None


MOST_REFUSAL_BYTES = 256 * 1024
"""A longer refusal is not kept: it explains nothing, and it would be kept once an item."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer that is no success, as the provider gave it: what the failed item keeps of it."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Retry:
    """Failed in a way that may pass (5xx, 408, transport, timeout). Costs an attempt.

    transport: no HTTP answer came (refused, reset, timed out): what the circuit of a connection counts. refusal: the
    answer, where there was one.
    """

    reason: str
    code: str
    after_ms: int | None = None
    transport: bool = False
    rates: RateReport | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Will fail again the same way (4xx). Ends the item, or moves it to its next target."""

    reason: str
    code: str
    status: int | None = None
    body: bytes | None = None
    rates: RateReport | None = None

    @property
    def refusal(self) -> Refusal | None:
        """The answer, where there was one."""
        return None if self.status is None or self.body is None else Refusal(self.status, self.body)


@dataclass(frozen=True, slots=True)
class LimitHit:
    """A 429 that passes: the budget pauses for `after_ms` (0: the provider did not say); no attempt is spent.
    growth: what is refused is not the rate but how fast it grew. one_model: what is used up counts the calls of one
    model, so the others on the connection go on."""

    after_ms: int
    reason: str
    rates: RateReport | None = None
    growth: bool = False
    one_model: bool = False


class FatalScope(StrEnum):
    """What a fatal answer makes useless."""

    CONNECTION = "connection"
    MODEL = "model"
    """One model of the connection."""
    ITEM = "item"


@dataclass(frozen=True, slots=True)
class Fatal:
    """No retry will help: no credit, spend limit, wrong key (CONNECTION: it is parked with the reason), the quota of
    a model for the day (MODEL: only that is), or a request larger than the provider's limit (ITEM: it fails). after_ms:
    when it may work again, if the provider said so."""

    scope: FatalScope
    reason: str
    code: str
    after_ms: int | None = None
    rates: RateReport | None = None
    refusal: Refusal | None = None


AttemptEnd = Succeeded | Retry | Failed | LimitHit | Fatal
"""How one attempt ended; closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemOutcome:
    """The final record of an item's run, as the flush writes it. Of one that was never sent only what is required, and
    why.

    response: provider's body bytes; of a FAILED item its refusal, whose status is http_status. connection_id, model and
    started_at: of the call that it came from. valid_until: the lease deadline on Postgres' clock, estimated early
    rather than late; an outcome that arrives later is refused. None: no lease stands behind it (cancellation).
    """

    batch_id: UUID
    seq: int
    run: int
    status: ItemStatus
    completed_at: datetime
    error_code: str | None = None
    error_message: str | None = None
    response: bytes | None = None
    response_headers: dict[str, str] | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    retry_count: int = 0
    connection_id: UUID | None = None
    model: str | None = None
    started_at: datetime | None = None
    valid_until: datetime | None = None
    http_status: int | None = None


class Recorded(StrEnum):
    """What the flush did with one outcome."""

    RECORDED = "recorded"
    """New; it has an event number now."""
    DUPLICATE = "duplicate"
    """This run already has an outcome: settle the lease, nothing else."""
    STALE = "stale"
    """Its lease deadline passed or its run is no longer current: discard it, leave the lease to its new holder."""
    DEFERRED = "deferred"
    """Its batch row is locked by another flush: flush it again."""
