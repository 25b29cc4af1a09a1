"""The pure parts of the command: capacities, counts and rates, wording, the live view's drawing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from brim import Batch, BrimError, Capacity, Event, Headroom, Unavailable
from brim.cli import wording
from brim.cli.capacity_text import parse_capacity
from brim.cli.exit_codes import exit_code_of
from brim.cli.tally import Tallier, Tally
from brim.cli.views import LiveView


@pytest.mark.parametrize(
    ("text", "capacities"),
    [
        ("600rpm", [Capacity("MINUTE", requests=600)]),
        ("600rpm/60000tpm", [Capacity("MINUTE", requests=600, tokens=60_000)]),
        (
            "1_000rpd, 5rps,2Mtpd",
            [Capacity("DAY", requests=1_000, tokens=2_000_000), Capacity("SECOND", requests=5)],
        ),
        ("3ktph/1rpw", [Capacity("HOUR", tokens=3_000), Capacity("WEEK", requests=1)]),
        ('{"period": "MINUTE", "requests": 5}', [{"period": "MINUTE", "requests": 5}]),
        ('[{"period": "DAY"}]', [{"period": "DAY"}]),
    ],
)
def test_a_capacity_is_read_as_typed(text: str, capacities: list[Any]) -> None:
    assert parse_capacity(text) == capacities


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no capacity"),
        ("600", "no capacity"),
        ("600rpm/", "no capacity"),
        ("0rpm", "at least 1"),
        ("5rpm/6rpm", "given twice"),
        ("{", "no valid JSON"),
        ("[3]", "an object or a list"),
    ],
)
def test_what_is_no_capacity_is_explained(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_capacity(text)


def batch(**more: Any) -> Batch:
    return Batch.from_wire({"batchId": "b", "status": "RUNNING", "totalItems": 100, **more})


def event(action: str, payload: Mapping[str, Any]) -> Event:
    return Event.from_wire(1, {"action": action, "payload": payload})


def item(number: int, status: str) -> dict[str, Any]:
    return {"itemId": str(number), "status": status, "promptTokens": 2, "outputTokens": 1}


def test_rate_and_time_left_come_from_the_last_seconds() -> None:
    tallier = Tallier(started_at_s=0.0)
    first = tallier.see_batch(batch(), 0.0)
    assert (first.per_s, first.left_s) == (None, None)
    for second in range(1, 31):
        tally = tallier.see_batch(batch(completed=second), float(second))
    assert tally.per_s == pytest.approx(1.0)
    assert tally.left_s == pytest.approx(70.0)
    for second in range(31, 52):
        tally = tallier.see_batch(batch(completed=30), float(second))
    assert tally.per_s == 0.0
    assert tally.left_s is None


def test_many_events_a_second_keep_few_samples_and_the_true_rate() -> None:
    tallier = Tallier(started_at_s=0.0)
    tallier.see_batch(batch(totalItems=100_000), 0.0)
    for number in range(20_000):
        tally = tallier.see_event(event("item-completed", item(number, "COMPLETED")), number / 1_000)
    assert tally is not None
    assert tally.per_s == pytest.approx(1_000, rel=0.02)
    assert len(tallier._samples) < 250


def test_events_are_counted_by_their_kind() -> None:
    tallier = Tallier(started_at_s=0.0)
    assert tallier.see_event(event("item-running", item(0, "RUNNING")), 0.0) is None
    tallier.see_event(event("batch-created", {"batchId": "b", "status": "PENDING", "totalItems": 4}), 0.0)
    for number in range(4):
        tally = tallier.see_event(event("item-running", item(number, "RUNNING")), 1.0)
    assert tally is not None
    assert (tally.status, tally.running, tally.finished) == ("RUNNING", 4, 0)
    for number, status in enumerate(("COMPLETED", "COMPLETED", "FAILED", "CANCELLED")):
        tally = tallier.see_event(event(f"item-{status.lower()}", item(number, status)), 2.0)
    assert tally is not None
    assert (tally.running, tally.completed, tally.failed, tally.cancelled) == (0, 2, 1, 1)
    assert (tally.prompt_tokens, tally.output_tokens) == (8, 4)
    unchanged = tallier.see_event(event("something-new", {}), 3.0)
    assert unchanged == tally


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(0, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7_500, "2 h 05 min"), (356_400, "4 d 03 h")],
)
def test_times_are_short(value_s: float, text: str) -> None:
    assert wording.seconds(value_s) == text


@pytest.mark.parametrize(
    ("per_s", "text"), [(None, "–/s"), (0.0, "0.0/s"), (0.5, "30.0/min"), (9.86, "9.9/s"), (1234.5, "1,234/s")]
)
def test_rates_are_readable(per_s: float | None, text: str) -> None:
    assert wording.rate(per_s) == text


def test_a_hundred_percent_is_said_at_the_end_only() -> None:
    almost = Tallier(0.0).see_batch(batch(totalItems=100_000, completed=99_999), 0.0)
    assert wording.percent(almost) == "99.9%"


def amount(limit: int, used: int) -> dict[str, int]:
    return {"limit": limit, "used": used, "headroom": max(limit - used, 0)}


def test_headroom_is_the_tightest_of_all_limits() -> None:
    raw = {
        "budgets": [
            {"limits": [{"period": "MINUTE", "requests": amount(600, 20), "tokens": None}]},
            {"limits": [{"period": "DAY", "requests": amount(100, 200), "tokens": amount(50_000, 8_800)}]},
        ]
    }
    assert wording.headroom_text(Headroom(raw)) == "0 requests, 41k tokens"
    assert wording.headroom_text(Headroom({"limits": []})) is None


def test_a_paused_batch_is_shown_as_such() -> None:
    tally = Tallier(0.0).see_batch(batch(paused=True, completed=5), 0.0)
    assert wording.plain_line(tally, "3 requests") == ("PAUSED 5/100 5.0% · running 0 · failed 0 · headroom 3 requests")


def test_why_a_batch_does_not_move_is_shown_until_it_ends() -> None:
    waiting = Tallier(0.0).see_batch(
        batch(completed=5, errorMessage="Waiting. Connection a is paused: no credit."), 0.0
    )
    assert wording.plain_line(waiting, None).endswith(" · Waiting. Connection a is paused: no credit.")
    screen = io.StringIO()
    with LiveView(Console(file=screen, force_terminal=True, width=120)) as view:
        view.show(waiting, None)
    assert "no credit" in screen.getvalue()
    ended = Tallier(0.0).see_batch(batch(status="FAILED", errorMessage="All items failed."), 0.0)
    assert ended.waits is None


@pytest.mark.parametrize("width", [30, 60, 120])
def test_the_live_view_fits_the_terminal(width: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    tally = Tally("0190-batch", "ASYNC", "RUNNING", False, 300, 12, 100, 3, 0, 0, 0, per_s=9.5, elapsed_s=11.0)
    with LiveView(console) as view:
        view.show(tally, "42 requests")
        view.trouble("no news")
    lines = [line for line in screen.getvalue().split("\n") if "RUNNING" in line or "9.5/s" in line]
    assert any("103/300" in line for line in lines)
    assert all(len(line.split("\x1b")[0].rstrip("\r")) < width for line in lines)


def test_each_error_has_an_exit_code() -> None:
    def all_of(kind: type[BrimError]) -> list[type[BrimError]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in all_of(sub))]

    kinds = [kind for kind in all_of(BrimError)[1:] if kind is not Unavailable]
    codes = {kind.__name__: exit_code_of(kind.__new__(kind)) for kind in kinds}
    assert exit_code_of(Unavailable(429, "TOO_MUCH_WAITING", "full")) == 3
    assert exit_code_of(Unavailable(503, "UNAVAILABLE", "down")) == 4
    assert codes["ConfigurationError"] == codes["InvalidJsonl"] == codes["BadLines"] == 2
    assert codes["ConnectionFailed"] == 4
    assert codes["NotFound"] == codes["Invalid"] == codes["StreamError"] == 3
