"""What was learned of models, as budgets and as people see it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.priority import Priority
from scheduler.domain.setup import Connection, Provider, Resource, Target
from scheduler.domain.work import BudgetDefinition, Limit, Meter
from scheduler.ports.learned import LearnedModel
from scheduler.providers.profiles import PROFILES
from scheduler.services.budgets.limits import model_budget_id
from scheduler.services.budgets.model_limits import FIRST_PLACES, discovered_capacity, model_budgets

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ID = UUID(int=7)
CONNECTION = Connection(
    UUID(int=1), UUID(int=2), ID, "c", None, Provider.OPENAI, None, {}, {}, None, (), None, 1, NOW, NOW
)
RESOURCE = Resource(
    workspace_id=UUID(int=1),
    environment_id=UUID(int=2),
    resource_id=UUID(int=3),
    name="r",
    description=None,
    targets=(Target(ID, "m"), Target(UUID(int=8), "elsewhere")),
    spill=False,
    capacity=(),
    enforce_capacity=True,
    max_in_flight=None,
    timeout_ms=1,
    max_retries=1,
    priority=Priority.NORMAL,
    default_args={},
    version=1,
    created_at=NOW,
    updated_at=NOW,
)
LEARNED = LearnedModel(ID, "m", (Limit("MINUTE", 500, 30_000), Limit("DAY", 10_000, None)), None)


def test_what_was_learned_is_paced_as_the_profile_says() -> None:
    profile = PROFILES["openai"]
    assert model_budgets([RESOURCE], [CONNECTION], [LEARNED, replace(LEARNED, connection_id=UUID(int=9))]) == [
        BudgetDefinition(
            model_budget_id(ID, "m"),
            1,
            (
                Limit("MINUTE", 500, 30_000, profile.pace, profile.burst_ms),
                Limit("DAY", 10_000, None, None, profile.burst_ms),
            ),
            None,
        )
    ]


def test_nothing_is_made_up_for_providers_with_limits() -> None:
    assert model_budgets([RESOURCE], [CONNECTION], []) == []


def test_where_nothing_limits_calls_few_go_at_once_at_first() -> None:
    own = replace(CONNECTION, provider=Provider.VLLM)
    [first] = model_budgets([RESOURCE, RESOURCE], [own], [])
    assert (first.max_in_flight, first.limits) == (FIRST_PLACES, ())
    before = LearnedModel(ID, "m", (), 40)
    [later] = model_budgets([RESOURCE], [own], [before])
    assert later.max_in_flight == 40
    [changed] = model_budgets([RESOURCE], [replace(own, profile="openai")], [before])
    assert changed.max_in_flight is None, "nobody would tell of its calls any more"


def test_of_several_models_the_tightest_limits_are_shown() -> None:
    other = LearnedModel(ID, "n", (Limit("MINUTE", None, 9_000, meter=Meter.INPUT), Limit("MINUTE", 600, None)), None)
    assert discovered_capacity([LEARNED, other]) == (
        Capacity(Period.MINUTE, 500, 9_000),
        Capacity(Period.DAY, 10_000, None),
    )
    assert discovered_capacity([]) is None
    assert discovered_capacity([LearnedModel(ID, "m", (), 4)]) is None
