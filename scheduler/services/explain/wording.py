"""Explanations in words."""

from __future__ import annotations

from datetime import datetime

from scheduler.services.explain.views import LimitHold, State


def in_words(state: State, hold: LimitHold | None, start: datetime | None, *, what: str = "It") -> str:
    """One sentence or two on why something waits. what: starts at `start`."""
    match state:
        case "finished":
            return "It has ended."
        case "running":
            return "It runs now."
        case "opening":
            return "The scheduler is taking it up."
        case _:
            if hold is None:
                return "Nothing holds it back but free slots of workers."
            return f"{held_by(hold)}.{_starting(what, start)}"


def held_by(hold: LimitHold) -> str:
    """Which limit holds it, without a full stop."""
    whose = _whose(hold)
    match hold.dimension:
        case "pause":
            return f"{whose} is paused: {(hold.reason or 'no reason is known').rstrip('.')}"
        case "batch-paused":
            return "The batch is paused"
        case "retry":
            return "An attempt failed, and the next one waits for its time"
        case "undefined":
            return f"{whose} is not known to the scheduler yet"
        case "in-flight":
            return f"{whose} has {hold.used} of {hold.limit} calls in flight"
        case _:
            amount = f"{hold.limit} {hold.dimension.replace('-', ' ')} per {(hold.period or 'period').lower()}"
            return f"The limit of {amount} of {_within(whose)} binds"


def late_in_words(in_time: bool | None, end: datetime | None, hold: LimitHold | None) -> str | None:
    """The warning of a batch: it will not meet its deadline, or waits on what does not end by itself."""
    why = f" {held_by(hold)}." if hold is not None else ""
    if in_time is False and end is not None:
        return f"The deadline cannot be met: as things stand the batch ends at {_shown(end)}.{why}"
    if hold is not None and hold.dimension == "pause":
        return f"{held_by(hold)}."
    if end is None and hold is not None and hold.dimension not in ("batch-paused", "in-flight", "undefined"):
        return f"The end cannot be told.{why}"
    return None


def _whose(hold: LimitHold) -> str:
    named = f" {hold.name}" if hold.name else ""
    match hold.scope:
        case "connection":
            return f"Connection{named}"
        case "model":
            return f"A model of connection{named}"
        case "resource":
            return f"Resource{named}"
        case "api-key":
            return f"API key{named}"
        case _:
            return f"The {hold.scope}"


def _within(whose: str) -> str:
    """The same in the middle of a sentence."""
    return whose if whose.startswith("API ") else f"{whose[0].lower()}{whose[1:]}"


def _starting(what: str, start: datetime | None) -> str:
    return f" {what} starts at {_shown(start)} at the earliest." if start is not None else ""


def _shown(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
