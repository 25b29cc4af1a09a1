"""How far a reserve may rise."""

from __future__ import annotations

import pytest

from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.output_room import OutputRoom, output_room
from scheduler.domain.work import Limit, Meter


def capacity(tokens: int | None, period: Period = Period.MINUTE, *, enabled: bool = True) -> tuple[Capacity, ...]:
    return (Capacity(period, requests=1, tokens=tokens, enabled=enabled),)


def test_without_limits_a_reserve_rises_freely() -> None:
    room = output_room([capacity(None)], [(), capacity(5, enabled=False)], [()], None)
    assert room == OutputRoom()
    assert room.cut(10**9, 10**6, 16) == 10**9


def test_the_lowest_of_all_limits_counts() -> None:
    assert output_room([capacity(900)], [capacity(1_000), capacity(800, Period.DAY)], [], None).item_tokens == 800
    assert output_room([capacity(700)], [capacity(800)], [], None).item_tokens == 700


def test_a_pool_has_its_part_of_the_minute_only() -> None:
    connections = [(*capacity(1_000), *capacity(90_000, Period.DAY))]
    assert output_room([], connections, [], 0.25).item_tokens == 250
    assert output_room([], [capacity(1_000, Period.DAY)], [], 0.25).item_tokens == 1_000


def test_limits_learned_of_a_model_count_by_what_they_meter() -> None:
    limits = [Limit("MINUTE", None, tokens, meter=meter) for meter, tokens in zip(Meter, (600, 50, 70), strict=True)]
    assert output_room([], [capacity(1_000)], [limits], None) == OutputRoom(600, 70)


@pytest.mark.parametrize(
    ("wanted", "in_tokens", "held", "expected"),
    [
        (500, 100, 16, 500),
        (5_000, 100, 16, 900),
        (5_000, 990, 16, 16),
        (5_000, 2_000, 16, 16),
        (5_000, 100, 950, 950),
    ],
)
def test_a_reserve_rises_as_far_as_fits_beside_the_prompt(
    wanted: int, in_tokens: int, held: int, expected: int
) -> None:
    assert OutputRoom(1_000).cut(wanted, in_tokens, held) == expected


def test_a_reserve_rises_as_far_as_the_answer_may() -> None:
    assert OutputRoom(None, 300).cut(500, 10**6, 16) == 300
