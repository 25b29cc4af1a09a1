"""Which fault strikes when: drawn from a seed, so a run can be had again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What can be done to a running stack."""

    KILL_WORKER = "kill -9 of a worker (it also sends callbacks)"
    KILL_API = "kill -9 of the API"
    STOP_WORKER = "SIGSTOP of a worker for longer than its leases, then SIGCONT"
    REDIS_FLUSH = "FLUSHALL"
    REDIS_RESTART = "kill -9 of Redis, restart with its data"
    REDIS_TAIL = "kill -9 of Redis, restart without the end of its append-only file"
    REDIS_OLDER = "kill -9 of Redis, restart with data some seconds old"
    REDIS_HANG = "SIGSTOP of Redis for some seconds"
    SCRIPT_FLUSH = "SCRIPT FLUSH"
    POSTGRES_RESTART = "kill -9 of Postgres, away for some seconds"
    POSTGRES_HANG = "SIGSTOP of Postgres for some seconds"
    POSTGRES_CUT = "all sessions of Postgres ended"
    POSTGRES_READ_ONLY = "Postgres refuses writes for some seconds"
    PROVIDER = "the provider hangs, resets, answers garbage, 500 and odd bytes"
    RECEIVER = "the receiver of callbacks is slow, refuses and resets"


REDIS_LOSSES = frozenset({Fault.REDIS_FLUSH, Fault.REDIS_TAIL, Fault.REDIS_OLDER, Fault.REDIS_RESTART})
"""After these a call in flight may be made again."""
MAY_REPEAT = REDIS_LOSSES | {Fault.KILL_WORKER, Fault.STOP_WORKER, Fault.REDIS_HANG}
"""A call that these met in flight may be made again; no other fault excuses a second call."""

_SHARE_FOR_LOSSES = 0.45
_QUIET_S = 2.0


@dataclass(frozen=True, slots=True)
class Planned:
    """at_s: from the start of the run. size: 0 … 1, how bad it is (how long, how much, which process)."""

    at_s: float
    fault: Fault
    size: float


def plan(seed: int, seconds: float, faults: Sequence[Fault], count: int) -> list[Planned]:
    """`count` faults within `seconds`, every kind at least once as far as count allows, in order of time.

    Losses of Redis come in the first part: after one, a budget of a minute waits for its minute.
    """
    draw = random.Random(seed)
    kinds = list(faults)
    draw.shuffle(kinds)
    while len(kinds) < count:
        kinds.append(draw.choice(list(faults)))
    planned = []
    for kind in kinds[:count]:
        latest = seconds * _SHARE_FOR_LOSSES if kind in REDIS_LOSSES else seconds
        planned.append(Planned(draw.uniform(_QUIET_S, latest), kind, draw.random()))
    return sorted(planned, key=lambda each: each.at_s)
