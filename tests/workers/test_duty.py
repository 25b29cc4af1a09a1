"""The loop that all duties share: what it tells of a store that is away."""

from __future__ import annotations

from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from workers.duty import Outage, backoff_s


def test_a_short_outage_is_not_told() -> None:
    outage = Outage("sender")
    with capture_logs() as told:
        outage.goes_on("away", 10.0)
        outage.goes_on("away", 10.9)
        outage.over(11.5)
        outage.over(12.0)
    assert told == []


def test_a_long_outage_is_told_ever_more_rarely_and_so_is_its_end() -> None:
    outage = Outage("sender")
    now_s = 100.0
    with capture_logs() as told:
        for failures in range(1, 60):
            outage.goes_on("away", now_s)
            now_s += backoff_s(failures)
        outage.over(now_s)
    assert [each["event"] for each in told] == ["duty.store_unavailable"] * (len(told) - 1) + ["duty.store_back"]
    lasted_s = [each["for_s"] for each in told[:-1]]
    assert lasted_s[0] == pytest.approx(1.5)
    assert all(later >= 2 * earlier for earlier, later in pairwise(lasted_s))
    assert told[-1]["after_s"] == pytest.approx(now_s - 100.0, abs=0.1)


def test_the_next_outage_is_told_anew() -> None:
    outage = Outage("sender")
    with capture_logs() as told:
        for start_s in (0.0, 100.0):
            outage.goes_on("away", start_s)
            outage.goes_on("away", start_s + 1.0)
            outage.over(start_s + 2.0)
    assert [(each["event"], each.get("for_s")) for each in told] == 2 * [
        ("duty.store_unavailable", 1.0),
        ("duty.store_back", None),
    ]
