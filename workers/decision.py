"""What follows from the end of an attempt: pure. Either an outcome is recorded or the entry is given back.

Never both, never neither: an item whose attempt ended is always on exactly one of the two ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from scheduler.domain.outcome import (
    MOST_REFUSAL_BYTES,
    AttemptEnd,
    Failed,
    Fatal,
    FatalScope,
    LimitHit,
    Refusal,
    Retry,
    Succeeded,
)
from scheduler.domain.retry import backoff_ms
from scheduler.domain.status import ItemStatus
from scheduler.domain.work import PauseCause


class PauseWhy(StrEnum):
    """Why a connection is paused (label of a metric)."""

    LIMIT = "limit"
    GROWTH = "growth"
    UNREACHABLE = "unreachable"

    @property
    def cause(self) -> PauseCause:
        """As the engine takes it."""
        match self:
            case PauseWhy.LIMIT:
                return PauseCause.LIMIT
            case PauseWhy.GROWTH:
                return PauseCause.GROWTH
            case _:
                return PauseCause.TROUBLE


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause the connection that was called, or only the model. pause_ms 0: the provider did not say how long."""

    pause_ms: int
    reason: str
    why: PauseWhy
    one_model: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """The item's run is over. success: the answer to keep, for COMPLETED; the error fields for FAILED, with the
    provider's refusal if it gave one."""

    status: ItemStatus
    success: Succeeded | None = None
    error_code: str | None = None
    error_message: str | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class GiveBack:
    """The entry goes back to its flow, after `pause` took effect if there is one, or the connection is parked for the
    reason in `park`."""

    delay_ms: int
    spend_attempt: bool
    next_target: int
    pause: Pause | None = None
    park: Fatal | None = None


Decision = Record | GiveBack


def decide(
    end: AttemptEnd,
    *,
    attempts: int,
    target: int,
    targets: int,
    max_retries: int,
    jitter: float,
    bound_for: int | None = None,
    spill: bool = False,
) -> Decision:
    """What to do after an attempt on `target` (of `targets`) that had `attempts` spent ones before it.

    A retry stays on its target until more than max_retries attempts are spent; then, like a failure that
    would come again, it moves on to the next target, each of which gets one try, and FAILED after the
    last. A limit spends nothing. jitter: uniform in [0, 1).

    bound_for: the target that the entry was bound for, when it was served by a later one (its own was full or shut):
    it goes back there. spill: a retry tries the targets in turn, so that one that is down does not use up all attempts.
    """
    own = target if bound_for is None else bound_for
    further = target + 1 < targets
    match end:
        case Succeeded():
            return Record(ItemStatus.COMPLETED, success=end)
        case Retry():
            if attempts < max_retries:
                following = (target + 1) % targets if spill else own
                return GiveBack(backoff_ms(attempts + 1, jitter, end.after_ms), True, following)
            return GiveBack(0, True, target + 1) if further else _failed(end)
        case Failed():
            return GiveBack(0, True, target + 1) if further else _failed(end)
        case LimitHit():
            why = PauseWhy.GROWTH if end.growth else PauseWhy.LIMIT
            return GiveBack(0, False, own, Pause(end.after_ms, end.reason, why, end.one_model))
        case Fatal(scope=FatalScope.ITEM):
            return GiveBack(0, True, target + 1) if further else _failed(end)
        case Fatal():
            # Round and round: the first target may have come back when the last one turns out dead too.
            following = (target + 1) % targets if targets else target
            return GiveBack(0, False, following, park=end)
        case _:
            assert_never(end)


def _failed(end: Retry | Failed | Fatal) -> Record:
    refusal = end.refusal if end.refusal is not None and len(end.refusal.body) <= MOST_REFUSAL_BYTES else None
    return Record(ItemStatus.FAILED, error_code=end.code, error_message=end.reason, refusal=refusal)
