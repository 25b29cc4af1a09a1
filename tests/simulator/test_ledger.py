"""The figures."""

from brim_server.simulator import ledger as module
from brim_server.simulator.ledger import ABANDONED, CALLS_KEPT, CALLS_PAGE, Ledger
from brim_server.simulator.repeats import Repeats

S = 1_000_000
START_US = 1_800_000_000 * S


def body(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_call_is_in_flight_until_it_ends_once() -> None:
    ledger = Ledger()
    first = ledger.arrival(START_US, body(1), "m", 10, admitted=True)
    second = ledger.arrival(START_US + S, body(2), "m", 20, admitted=True)
    assert ledger.stats()["in_flight"] == 2
    first.end(200)
    first.end(ABANDONED)
    second.end(500)
    stats = ledger.stats()
    assert (stats["in_flight"], stats["max_in_flight"]) == (0, 2)
    assert stats["statuses"] == {"200": 1, "500": 1}
    assert stats["tokens_charged"] == 30
    assert (stats["first_call_at"], stats["last_call_at"]) == (1_800_000_000.0, 1_800_000_001.0)


def test_refused_calls_are_counted_and_not_charged() -> None:
    ledger = Ledger()
    ledger.refused("tokens")
    ledger.arrival(START_US, body(1), "m", 10, admitted=False).end(429)
    stats = ledger.stats()
    assert (stats["requests"], stats["admitted"], stats["refused_429"], stats["tokens_charged"]) == (
        1,
        0,
        1,
        0,
    )
    assert stats["refusals"] == {"tokens": 1}
    assert stats["worst_minute"] == {"requests": 1, "tokens": 10}
    assert stats["worst_minute_admitted"] == {"requests": 0, "tokens": 0}
    assert stats["max_in_flight"] == 0


def test_a_call_of_an_older_ledger_leaves_the_new_one_alone() -> None:
    old, new = Ledger(), Ledger()
    old.arrival(START_US, body(1), "m", 1, admitted=True).end(200)
    assert new.stats()["in_flight"] == 0
    assert new.stats()["statuses"] == {}


def test_calls_come_in_pages_and_the_oldest_are_dropped() -> None:
    ledger = Ledger()
    for number in range(CALLS_KEPT + 5):
        ledger.arrival(START_US + number, body(number), "m", 1, admitted=True).end(200)
    page = ledger.calls(0)
    assert page["first_kept"] == 6
    seen = 0
    since = 0
    while page["calls"]:
        assert len(page["calls"]) <= CALLS_PAGE
        seen += len(page["calls"])
        since = page["next"]
        page = ledger.calls(since)
    assert (seen, since) == (CALLS_KEPT, CALLS_KEPT + 5)


def test_the_timeline_counts_by_seconds() -> None:
    ledger = Ledger()
    for offset_us, is_admitted in ((0, True), (S - 1, False), (3 * S, True)):
        ledger.arrival(START_US + offset_us, body(1), "m", 4, admitted=is_admitted)
    second = START_US // S
    assert ledger.timeline()["seconds"] == [[second, 1, 4, 1], [second + 3, 1, 4, 0]]


def test_model_names_are_bounded() -> None:
    ledger = Ledger()
    for number in range(module.MODELS_KEPT + 10):
        ledger.arrival(START_US, body(1), f"m{number}", 1, admitted=True)
    assert len(ledger.stats()["models"]) == module.MODELS_KEPT + 1
    assert ledger.stats()["models"][module.OTHER_MODELS] == 10


def test_repeats_are_counted_by_body_and_by_arrival() -> None:
    repeats = Repeats()
    for number in (1, 2, 1, 1, 3):
        repeats.arrival(body(number))
    assert (repeats.bodies, repeats.repeats, repeats.after_answer) == (1, 2, 0)
    repeats.answered(body(2))
    repeats.arrival(body(2))
    assert (repeats.bodies, repeats.repeats, repeats.after_answer) == (2, 3, 1)


def test_repeats_stop_remembering_when_full() -> None:
    repeats = Repeats(capacity=2)
    for number in (1, 2, 3, 3, 1):
        repeats.arrival(body(number))
    assert repeats.is_full
    assert repeats.repeats == 1
