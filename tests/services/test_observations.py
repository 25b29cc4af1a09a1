"""What the engine is told of an answer's rate headers."""

from __future__ import annotations

from uuid import UUID

from scheduler.domain.capacity import Period
from scheduler.domain.observation import CallsEnded, LimitUse
from scheduler.domain.rates import Dimension, RateReport, ReportedLimit
from scheduler.domain.work import Limit, Meter
from scheduler.providers.profiles import PROFILES
from scheduler.services.budgets.observations import observation_of

CONNECTION = UUID(int=1)


def reported(dimension: Dimension, limit: int, remaining: int | None, **more: object) -> ReportedLimit:
    given: dict[str, object] = {"period": Period.MINUTE, "reset_ms": 1_000, **more}
    return ReportedLimit(dimension, limit=limit, remaining=remaining, **given)  # type: ignore[arg-type]


def test_requests_and_tokens_of_a_period_are_one_paced_limit() -> None:
    report = RateReport((reported(Dimension.REQUESTS, 500, 499), reported(Dimension.TOKENS, 30_000, 29_000)))
    told = observation_of(CONNECTION, "m", PROFILES["openai"], report, 40)
    profile = PROFILES["openai"]
    assert told.limits == (Limit("MINUTE", 500, 30_000, profile.pace, profile.burst_ms),)
    assert told.uses == (
        LimitUse("MINUTE", None, 500, 1, 1_000),
        LimitUse("MINUTE", Meter.TOTAL, 30_000, 1_000, 1_000),
    )
    assert told.refilled
    assert told.age_ms == 40
    assert told.budget_id.startswith("model-")
    assert told.budget_id != observation_of(CONNECTION, "n", profile, report, 40).budget_id
    assert told.connection_budget_id == f"connection-{CONNECTION}"


def test_of_two_pools_the_one_with_less_left_is_told() -> None:
    report = RateReport(
        (
            reported(Dimension.TOKENS, 30_000, 29_000),
            reported(Dimension.TOKENS, 20_000, 100, pool="project"),
            reported(Dimension.TOKENS, 25_000, None, pool="other"),
        )
    )
    told = observation_of(CONNECTION, "m", PROFILES["openai"], report, 0)
    assert [use.used for use in told.uses] == [19_900]
    assert told.limits[0].tokens == 20_000


def test_a_limit_whose_period_cannot_be_told_teaches_nothing() -> None:
    report = RateReport((reported(Dimension.TOKENS, 150_000, 149_984, period=None, reset_ms=360_000),))
    told = observation_of(CONNECTION, "m", PROFILES["openai"], report, 0)
    assert (told.limits, told.uses) == ((), ())


def test_tokens_that_are_metered_apart_stand_alone() -> None:
    report = RateReport(
        (
            reported(Dimension.REQUESTS, 50, 49),
            reported(Dimension.TOKENS, 48_000, 40_000, rounded_to=1_000),
            reported(Dimension.INPUT_TOKENS, 40_000, 39_000, rounded_to=1_000),
            reported(Dimension.OUTPUT_TOKENS, 8_000, 8_000, rounded_to=1_000),
        )
    )
    told = observation_of(CONNECTION, "m", PROFILES["anthropic"], report, 0)
    assert [(limit.meter, limit.requests, limit.tokens) for limit in told.limits] == [
        (Meter.INPUT, None, 40_000),
        (Meter.OUTPUT, None, 8_000),
        (Meter.TOTAL, 50, None),
    ]
    assert [(use.meter, use.used, use.rounded_to) for use in told.uses] == [
        (None, 1, 1),
        (Meter.INPUT, 1_000, 1_000),
        (Meter.OUTPUT, 0, 1_000),
    ]


def test_a_limit_of_a_day_is_told_but_not_its_use() -> None:
    report = RateReport((reported(Dimension.REQUESTS, 14_400, 14_000, period=Period.DAY, reset_ms=9),))
    told = observation_of(CONNECTION, "m", PROFILES["groq"], report, 0)
    assert [(limit.period, limit.requests, limit.pace) for limit in told.limits] == [("DAY", 14_400, None)]
    assert told.uses == ()


def test_what_may_be_old_or_empty_is_not_told() -> None:
    report = RateReport((reported(Dimension.REQUESTS, 60, 0), reported(Dimension.TOKENS, 0, 0)))
    told = observation_of(CONNECTION, "m", PROFILES["azure"], report, 0)
    assert told.uses == ()
    assert [limit.requests for limit in told.limits] == [60]
    assert [limit.tokens for limit in told.limits] == [None]


def test_without_limits_calls_are_told() -> None:
    calls = CallsEnded(3, 1, 900, 40, 100)
    told = observation_of(CONNECTION, "m", PROFILES["vllm"], None, 0, calls)
    assert (told.limits, told.uses, told.calls) == ((), (), calls)
