"""Connections that are parked: their provider said that waiting a little will not help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

SHORTEST = timedelta(minutes=1)
"""What cannot be used for a reason like this is not tried sooner, whatever some header says."""
LONGEST = timedelta(days=32)
"""Nothing is parked for longer at a time; what says more is asked again then."""


@dataclass(frozen=True, slots=True)
class Parking:
    """Why nothing is sent through a connection, or to one model of it.

    model: "" for all of the connection. due_at: from then on one call is tried, and parks it again if it is refused.
    times: how often in a row. The names are filled in when it is read.
    """

    connection_id: UUID
    model: str
    code: str
    reason: str
    parked_at: datetime
    due_at: datetime
    times: int = 1
    workspace_id: UUID | None = None
    environment_id: UUID | None = None
    connection_name: str = ""


def due_at(now: datetime, told_ms: int | None, otherwise: timedelta) -> datetime:
    """When a parking ends: when the provider said, else after `otherwise`; within SHORTEST and LONGEST from now."""
    span = otherwise if told_ms is None else timedelta(milliseconds=told_ms)
    return now + min(max(span, SHORTEST), LONGEST)


def next_midnight_pacific_ms(now_s: float) -> int:
    """From a Unix time to the next midnight in US Pacific time, in ms: where Gemini's quotas of the day start again.

    Daylight saving runs from the second Sunday of March to the first Sunday of November, each at 2:00 (US law since
    2007); computed here, because the time zone database need not be installed.
    """
    offset_s = -8 * 3600 + (3600 if _is_daylight(now_s) else 0)
    local_s = now_s + offset_s
    midnight_s = (local_s // 86400 + 1) * 86400 - offset_s
    # The clock may change in the night between: the offset that counts is that of the midnight itself.
    midnight_s += (3600 if _is_daylight(now_s) else 0) - (3600 if _is_daylight(midnight_s) else 0)
    return math.ceil((midnight_s - now_s) * 1000)


def _is_daylight(unix_s: float) -> bool:
    year = (datetime(1970, 1, 1) + timedelta(seconds=unix_s - 8 * 3600)).year  # noqa: DTZ001 - plain arithmetic
    begins_s = _nth_sunday_s(year, 3, 2) + 2 * 3600 + 8 * 3600
    ends_s = _nth_sunday_s(year, 11, 1) + 2 * 3600 + 7 * 3600
    return begins_s <= unix_s < ends_s


def _nth_sunday_s(year: int, month: int, nth: int) -> float:
    """Midnight of it, as if it were UTC, in Unix seconds."""
    first = datetime(year, month, 1)  # noqa: DTZ001 - plain arithmetic
    day = first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))
    return (day - datetime(1970, 1, 1)).total_seconds()  # noqa: DTZ001 - plain arithmetic
