"""Each shape's admissions, worked out by hand. Times are in seconds; S turns them into microseconds."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brim_server.simulator.meters import MINUTE_US, Bucket, Meter, Slices, Sliding, meter_of
from brim_server.simulator.options import Options

S = 1_000_000
START_US = 1_800_000_000 * S  # a whole minute


def admit(meter: Meter, amount: int, now_us: int) -> bool:
    if meter.wait_us(amount, now_us):
        return False
    meter.spend(amount, now_us)
    return True


def admitted_of(meter: Meter, calls: int, now_us: int) -> int:
    return sum(admit(meter, 1, now_us) for _ in range(calls))


def test_a_bucket_starts_full_and_refills_continuously() -> None:
    bucket = Bucket(600)  # ten a second
    assert admitted_of(bucket, 700, START_US) == 600
    assert bucket.wait_us(1, START_US) == S // 10
    assert bucket.full_in_us(START_US) == 60 * S
    assert not admit(bucket, 1, START_US + S // 10 - 1)
    assert admit(bucket, 1, START_US + S // 10)
    assert admitted_of(bucket, 700, START_US + 2 * S) == 19
    assert admitted_of(bucket, 700, START_US + 600 * S) == 600


def test_a_bucket_of_one_second_holds_one_second() -> None:
    bucket = Bucket(600, bucket_s=1)
    assert admitted_of(bucket, 100, START_US) == 10
    assert admitted_of(bucket, 100, START_US + S) == 10


def test_an_amount_above_the_bucket_needs_it_full_and_leaves_a_debt() -> None:
    bucket = Bucket(600, bucket_s=1)
    assert admit(bucket, 30, START_US)
    assert bucket.room(START_US) == 0
    assert bucket.wait_us(1, START_US) == 2 * S + S // 10
    assert bucket.wait_us(30, START_US) == 3 * S


def test_a_tiny_limit_still_admits_one() -> None:
    assert admit(Bucket(1, bucket_s=1), 1, START_US)
    assert admit(Slices(1, slice_s=1), 1, START_US)


def test_a_sliding_minute_frees_each_call_sixty_seconds_after_it_came() -> None:
    sliding = Sliding(3)
    for second in (0, 10, 20):
        assert admit(sliding, 1, START_US + second * S)
    assert sliding.room(START_US + 20 * S) == 0
    assert sliding.wait_us(1, START_US + 30 * S) == 30 * S
    assert sliding.wait_us(2, START_US + 30 * S) == 40 * S
    assert sliding.full_in_us(START_US + 30 * S) == 50 * S
    assert not admit(sliding, 1, START_US + 60 * S - 1)
    assert admit(sliding, 1, START_US + 60 * S)
    assert not admit(sliding, 1, START_US + 60 * S)
    assert sliding.full_in_us(START_US + 200 * S) == 0


def test_a_sliding_minute_weighs_amounts() -> None:
    sliding = Sliding(100)
    assert admit(sliding, 60, START_US)
    assert admit(sliding, 30, START_US + S)
    assert not admit(sliding, 20, START_US + 2 * S)
    assert sliding.wait_us(20, START_US + 2 * S) == 58 * S
    assert sliding.wait_us(90, START_US + 2 * S) == 59 * S
    assert admit(sliding, 10, START_US + 2 * S)


def test_a_fixed_minute_forgets_at_the_minute() -> None:
    minute = Slices(5)
    assert admitted_of(minute, 9, START_US + 59 * S) == 5
    assert minute.wait_us(1, START_US + 59 * S) == S
    assert minute.full_in_us(START_US + 59 * S) == S
    assert admitted_of(minute, 9, START_US + 60 * S) == 5
    assert minute.room(START_US + 119 * S) == 0


def test_slices_admit_their_part_of_the_limit_each() -> None:
    slices = Slices(600, slice_s=10)
    assert admitted_of(slices, 700, START_US) == 100
    assert admitted_of(slices, 700, START_US + 9 * S) == 0
    assert slices.wait_us(1, START_US + 9 * S) == S
    assert admitted_of(slices, 700, START_US + 10 * S) == 100
    assert admitted_of(slices, 700, START_US + 40 * S) == 100, "unused slices are lost"


def test_an_amount_above_a_slice_needs_a_free_one_and_borrows_from_the_next() -> None:
    slices = Slices(600, slice_s=10)
    assert admit(slices, 1, START_US)
    assert slices.wait_us(250, START_US) == 10 * S
    assert admit(slices, 250, START_US + 10 * S)
    assert not admit(slices, 1, START_US + 20 * S)
    assert admitted_of(slices, 100, START_US + 30 * S) == 50


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (Options(shape="bucket"), Bucket),
        (Options(shape="sliding"), Sliding),
        (Options(shape="minute"), Slices),
        (Options(shape="slices"), Slices),
    ],
)
def test_each_shape_has_its_meter(options: Options, kind: type) -> None:
    assert isinstance(meter_of(options, 10), kind)
    assert meter_of(options, None) is None


gaps_and_amounts = st.lists(st.tuples(st.integers(0, 20 * S), st.integers(1, 50)), max_size=200)
meter_makers: list[Callable[[], Meter]] = [
    lambda: Bucket(50),
    lambda: Bucket(50, bucket_s=1),
    lambda: Sliding(50),
    lambda: Slices(50),
    lambda: Slices(50, slice_s=10),
    lambda: Slices(50, slice_s=7),
]


@given(gaps_and_amounts)
def test_a_sliding_minute_never_exceeds_its_limit(calls: list[tuple[int, int]]) -> None:
    sliding, now_us, taken = Sliding(50), START_US, list[tuple[int, int]]()
    for gap_us, amount in calls:
        now_us += gap_us
        if admit(sliding, amount, now_us):
            taken.append((now_us, amount))
            assert sum(a for at, a in taken if at > now_us - MINUTE_US) <= 50
        else:
            assert sum(a for at, a in taken if at > now_us - MINUTE_US) + amount > 50, "refused in vain"


@pytest.mark.parametrize("slice_s", [60.0, 10.0, 1.0])
@given(calls=gaps_and_amounts)
def test_no_slice_holds_more_than_its_part(slice_s: float, calls: list[tuple[int, int]]) -> None:
    slices, now_us, slice_us = Slices(6000, slice_s), START_US, int(slice_s * S)
    taken: dict[int, int] = {}
    for gap_us, amount in calls:
        now_us += gap_us
        if admit(slices, amount, now_us):
            taken[now_us // slice_us] = taken.get(now_us // slice_us, 0) + amount
    assert all(total <= 6000 * slice_s / 60 for total in taken.values())


@given(gaps_and_amounts)
def test_a_bucket_never_exceeds_its_capacity_plus_the_refill(calls: list[tuple[int, int]]) -> None:
    bucket, now_us, total = Bucket(50), START_US, 0
    for gap_us, amount in calls:
        now_us += gap_us
        if admit(bucket, amount, now_us):
            total += amount
            assert (total - 50) * MINUTE_US <= 50 * (now_us - START_US)


@given(make=st.sampled_from(meter_makers), calls=gaps_and_amounts)
def test_whoever_waits_as_told_is_admitted_and_nobody_sooner(
    make: Callable[[], Meter], calls: list[tuple[int, int]]
) -> None:
    meter, now_us = make(), START_US
    for gap_us, amount in calls:
        now_us += gap_us
        wait_us = meter.wait_us(amount, now_us)
        if wait_us:
            assert meter.wait_us(amount, now_us + wait_us - 1) == 1
            now_us += wait_us
        assert admit(meter, amount, now_us)


@given(gaps_and_amounts)
def test_a_meter_is_full_when_it_said_it_would_be(calls: list[tuple[int, int]]) -> None:
    for meter in (Bucket(50), Sliding(50), Slices(50)):
        now_us = START_US
        for gap_us, amount in calls:
            now_us += gap_us
            admit(meter, amount, now_us)
        assert meter.room(now_us + meter.full_in_us(now_us)) == 50
