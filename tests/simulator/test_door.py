"""Requests and tokens are checked together and spent together."""

from brim_server.simulator.door import Admitted, Door, Refused, TooLarge
from brim_server.simulator.options import Options

S = 1_000_000
START_US = 1_800_000_000 * S


def rooms(door: Door, now_us: int) -> dict[str, int]:
    return {dimension: remaining for dimension, _, remaining, _ in door.rates(now_us)}


def test_a_call_is_charged_on_both_limits() -> None:
    door = Door.of(Options(rpm=10, tpm=1000))
    assert door.ask(300, START_US) == Admitted()
    assert rooms(door, START_US) == {"requests": 9, "tokens": 700}


def test_a_refused_call_is_charged_on_neither() -> None:
    door = Door.of(Options(rpm=10, tpm=1000, shape="minute"))
    assert door.ask(800, START_US + 20 * S) == Admitted()
    assert door.ask(300, START_US + 20 * S) == Refused("tokens", 1000, 800, 300, 40 * S)
    assert rooms(door, START_US + 20 * S) == {"requests": 9, "tokens": 200}


def test_of_two_limits_the_longer_wait_is_told() -> None:
    door = Door.of(Options(rpm=60, tpm=60, shape="bucket"))
    for _ in range(60):
        door.ask(1, START_US)
    assert door.ask(30, START_US) == Refused("tokens", 60, 60, 30, 30 * S)
    assert door.ask(1, START_US) == Refused("requests", 60, 60, 1, S)


def test_a_call_above_the_whole_limit_never_fits() -> None:
    door = Door.of(Options(rpm=10, tpm=1000))
    assert door.ask(1001, START_US) == TooLarge("tokens", 1000, 1001)
    assert rooms(door, START_US) == {"requests": 10, "tokens": 1000}


def test_without_limits_everything_is_admitted() -> None:
    door = Door.of(Options())
    assert all(door.ask(10**9, START_US) == Admitted() for _ in range(1000))
    assert rooms(door, START_US) == {}
