"""When what is parked is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.parking import LONGEST, SHORTEST, due_at, next_midnight_pacific_ms

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("told_ms", "after"),
    [(None, HOUR), (7_200_000, 2 * HOUR), (5, SHORTEST), (10**15, LONGEST)],
)
def test_a_parking_ends_when_the_provider_says_within_bounds(told_ms: int | None, after: timedelta) -> None:
    assert due_at(NOW, told_ms, HOUR) == NOW + after


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds
def test_midnight_in_california_is_found_without_a_time_zone_database(now: datetime) -> None:
    found = now + timedelta(milliseconds=next_midnight_pacific_ms(now.timestamp()))
    pacific = ZoneInfo("America/Los_Angeles")
    there = found.astimezone(pacific)
    assert there.date() == now.astimezone(pacific).date() + timedelta(days=1)
    assert abs((there - there.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()) < 0.002


@pytest.mark.parametrize(
    ("now", "midnight"),
    [
        ((2026, 3, 8, 7, 59), (2026, 3, 8, 8, 0)),
        ((2026, 3, 8, 9, 0), (2026, 3, 9, 7, 0)),  # the night in which clocks go forward
        ((2026, 11, 1, 8, 30), (2026, 11, 2, 8, 0)),  # and back
        ((2026, 7, 1, 7, 0), (2026, 7, 2, 7, 0)),
    ],
)
def test_midnight_moves_with_daylight_saving(now: tuple[int, ...], midnight: tuple[int, ...]) -> None:
    began = datetime(*now, tzinfo=UTC)  # type: ignore[misc,arg-type]
    expected = datetime(*midnight, tzinfo=UTC)  # type: ignore[misc,arg-type]
    assert began + timedelta(milliseconds=next_midnight_pacific_ms(began.timestamp())) == expected
