"""One call that is answered in the request that brings it: what it asks of the engine, and what that answers."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.domain.work import Lease, QueueRef


@dataclass(frozen=True, slots=True)
class DirectAsk:
    """A call that wants to start. ticket: names it; text without "|" or ":", rising with time, because of two calls
    with one place in line the lower ticket goes first. budgets: those that bind it beside those of its resource (its
    key's). first_target: index of the first target that it may use."""

    queue: QueueRef
    ticket: str
    in_tokens: int
    out_tokens: int
    budgets: tuple[str, ...] = ()
    first_target: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may start: everything is reserved, and the lease runs. age_ms: for how long already."""

    lease: Lease
    age_ms: int


@dataclass(frozen=True, slots=True)
class Waits:
    """It is in line. Ask again after ask_ms, or when the engine's grants name its ticket. budget: what binds it."""

    ask_ms: int
    budget: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not in line: it would have to wait for wait_ms, longer than it may. budget: what binds it. shut: that is
    paused, and not for a limit: what it stands for cannot be reached, or does not work."""

    wait_ms: int
    budget: str
    shut: bool = False


@dataclass(frozen=True, slots=True)
class Exceeds:
    """It can never fit into this budget."""

    budget: str


@dataclass(frozen=True, slots=True)
class Undefined:
    """The engine does not know this queue or budget (yet)."""

    name: str


Admission = Admitted | Waits | Refused | Exceeds | Undefined
"""What the engine says to a direct call; closed."""
