"""Clocks of a worker: its own monotonic one, and Postgres' clock as far as it can be known from here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """Postgres' clock, estimated early rather than late (design section 7).

    A statement ran before its reply arrived, so `database_now` belongs to a moment at or before
    `replied_at_s`: reckoning from the reply, Postgres' clock is at least what this says, and a deadline
    on it comes out early.
    """

    __slots__ = ("_database_now", "_replied_at_s")

    def __init__(self) -> None:
        self._database_now: datetime | None = None
        self._replied_at_s = 0.0

    def observe(self, database_now: datetime, replied_at_s: float) -> None:
        """Take the newest reading; replied_at_s: monotonic seconds when its reply was here."""
        self._database_now = database_now
        self._replied_at_s = replied_at_s

    def at(self, monotonic_s: float) -> datetime | None:
        """Postgres' clock at that moment, or somewhat earlier; None before the first reading."""
        if self._database_now is None:
            return None
        return self._database_now + timedelta(seconds=monotonic_s - self._replied_at_s)


class WallClock:
    """UTC wall time of monotonic moments, for the times shown to people."""

    __slots__ = ("_offset_s",)

    def __init__(self, wall_s: float, monotonic_s: float) -> None:
        self._offset_s = wall_s - monotonic_s

    def at(self, monotonic_s: float) -> datetime:
        """The wall time of a monotonic moment."""
        return datetime.fromtimestamp(self._offset_s + monotonic_s, UTC)
