"""The engine's vocabulary: queues, flows, entries, leases, and what a claim answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class QueueRef(NamedTuple):
    """The queue of one resource. Ids are the text of UUIDs."""

    workspace_id: str
    environment_id: str
    resource_id: str


class FlowRef(NamedTuple):
    """The waiting entries of one batch on one resource."""

    queue: QueueRef
    batch_id: str


class Entry(NamedTuple):
    """One unit of work as the engine sees it: an opaque position and run with a cost.

    position: rises within its flow (the item's seq). in_tokens / out_tokens: estimated cost, out is the reserve.
    attempts: attempts spent. crashes: holders that died with it. target: index of the resource's target to use.
    """

    position: int
    run: int
    in_tokens: int
    out_tokens: int
    attempts: int = 0
    crashes: int = 0
    target: int = 0


class BudgetKind(StrEnum):
    """Whose capacity a budget accounts for."""

    CONNECTION = "connection"
    MODEL = "model"
    """What was learned of one model on one connection."""
    POOL = "pool"
    """What a pool of resources uses of one connection."""
    RESOURCE = "resource"
    API_KEY = "key"
    ADDRESS = "address"
    """What one caller address uses of an API key's limits per address."""
    BATCH = "batch"


def budget_id(kind: BudgetKind, owner: object) -> str:
    """The id of a budget: unique over all kinds within a shard."""
    return f"{kind.value}-{owner}"


class PauseCause(StrEnum):
    """What a provider said when a budget is paused for it."""

    TROUBLE = ""
    """Nothing of its limits: unreachable, or shut."""
    LIMIT = "limit"
    """Too much: bursts become smaller from then on."""
    GROWTH = "growth"
    """Too much more than before: from then on half as much again in 15 minutes."""


class Meter(StrEnum):
    """Which tokens of a call a limit counts."""

    TOTAL = "total"
    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Limit:
    """One enforced period of a budget.

    period: "SECOND" … "LIFETIME" (domain.capacity.Period). requests / tokens: None is unlimited.
    pace: share of the limit at which it is paced (0 < pace ≤ 1), None for window only. burst_ms: how much may go at
    once, in ms of the paced rate. meter: which tokens `tokens` counts; a budget has at most one limit per period and
    meter. direct_share: part of a paced sliding limit (0 to 1) that direct calls find free at any time. zone: whose
    days a quota counts: "" is UTC, "us-pacific".
    """

    period: str
    requests: int | None
    tokens: int | None
    pace: float | None = None
    burst_ms: int = 1000
    meter: Meter = Meter.TOTAL
    direct_share: float = 0.0
    zone: str = ""


@dataclass(frozen=True, slots=True)
class BudgetDefinition:
    """What `set_limits` applies. `version` is the row version in Postgres; an older one is ignored."""

    budget_id: str
    version: int
    limits: tuple[Limit, ...]
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class QueueDefinition:
    """What `set_queues` applies: `targets` are connection budget ids in order; `budgets` bind every entry of the queue.

    spill: later targets also add their headroom. weight: from the resource's priority. models: per target the budget
    of its (connection, model), which binds its calls from when it is defined. pools: per target the budget of the
    resource's pool there, likewise. min_share: as long as that counts less than this part of the connection's limit per
    minute, the queue goes first there.
    """

    queue: QueueRef
    version: int
    targets: tuple[str, ...]
    budgets: tuple[str, ...]
    weight: float
    spill: bool = False
    kind: str = "llm"
    models: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    min_share: float = 0.0


@dataclass(frozen=True, slots=True)
class FlowDefinition:
    """What a push needs to open a flow. `budgets`: the batch's and key's budgets, as far as they have limits.

    end: the last position that is stored so far; the flow asks for refills until its cursor reaches it.
    sealed: no position above `end` will come.
    """

    flow: FlowRef
    version: int
    weight: float
    budgets: tuple[str, ...]
    end: int
    sealed: bool = True
    paused: bool = False


class Fence(NamedTuple):
    """Orders the holders of one entry; only the newest may settle."""

    epoch: int
    number: int


class LeaseRef(NamedTuple):
    """Names a lease: identity is (flow, position); the fence says whose it is."""

    flow: FlowRef
    position: int
    fence: Fence


class Lease(NamedTuple):
    """The right to run one attempt of an entry until the deadline of its claim.

    target: index of the target that was reserved. exceeds: budget id that can never admit the entry (nothing is
    reserved then; the holder fails the item), else "". dead: too many holders died; the holder records a dead letter.
    """

    ref: LeaseRef
    entry: Entry
    target: int
    exceeds: str = ""
    dead: bool = False


@dataclass(frozen=True, slots=True)
class RefillOrder:
    """Bring more entries to a flow: those with position > cursor, pushed with this generation and cursor."""

    flow: FlowRef
    generation: int
    cursor: int
    end: int
    room: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """Answer of a claim. `next_due_ms`: 0 when more may be claimable at once, None when nothing is known to become
    claimable by itself, else the delay in ms from the reply. `holds_timer`: this holder shall claim again then."""

    leases: tuple[Lease, ...]
    now_ms: int
    lease_ms: int
    next_due_ms: int | None
    holds_timer: bool
    refill: RefillOrder | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of one lease whose outcome is recorded.

    charged_*: what the provider charges (tokens), replacing the reservation. sent_ago_ms: how long ago the call left;
    None when it was never sent (everything is given back).
    """

    ref: LeaseRef
    charged_in_tokens: int
    charged_out_tokens: int
    sent_ago_ms: int | None


class Refund(StrEnum):
    """What a release gives back to the budgets: all (the call was never sent) or nothing."""

    ALL = "all"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Release:
    """Give an entry back. `delay_ms`: 0 puts it at the front now. `spend_attempt`: it counts as an attempt.

    next_target: the target to use from now on. sent_ago_ms: None when unsent. out_tokens: the reserve for its answer
    from now on; None: as before.
    """

    ref: LeaseRef
    delay_ms: int
    spend_attempt: bool
    refund: Refund
    sent_ago_ms: int | None
    next_target: int = 0
    out_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Doorbell:
    """Tells the readers of a batch's feed that Postgres holds events up to `last_event`."""

    queue: QueueRef
    batch_id: str
    last_event: int


@dataclass(frozen=True, slots=True)
class BudgetHeadroom:
    """What one budget holds now. Per limit: period, limits, used, headroom (None: unlimited), all in whole units.

    paused_ms: for how long it is still paused (0: not). waiting: flows or queues parked on it.
    """

    budget_id: str
    limits: tuple[LimitHeadroom, ...]
    in_flight: int
    max_in_flight: int | None
    paused_ms: int
    pause_reason: str
    waiting: int


@dataclass(frozen=True, slots=True)
class LimitHeadroom:
    """One period of a budget: what is used and what is left."""

    period: str
    requests_limit: int | None
    requests_used: int
    tokens_limit: int | None
    tokens_used: int
    meter: Meter = Meter.TOTAL


@dataclass(frozen=True, slots=True)
class FlowState:
    """A flow's window as the engine holds it. end: last stored position it knows of. version: row version of the batch
    whose control state (weight, budgets, pause) it has."""

    generation: int
    cursor: int
    end: int
    version: int
    waiting: int
    deferred: int
    leased: int
    dead: bool
    paused: bool


@dataclass(frozen=True, slots=True)
class ShardDepths:
    """Counts of one shard. queues: flows waiting per queue, for active and standby queues (first 1,000)."""

    active: int
    standby: int
    leases: int
    overdue_leases: int
    queues: dict[QueueRef, int]


class Started(NamedTuple):
    """An entry that has just been leased. at_ms: when, on the engine's clock, in Unix ms."""

    position: int
    at_ms: int
