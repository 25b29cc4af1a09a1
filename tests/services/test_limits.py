"""From capacities to budgets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from scheduler.domain.batch import Batch
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.priority import Priority
from scheduler.domain.setup import ApiKey, Connection, Provider, Resource, Target
from scheduler.domain.status import BatchStatus, BatchType
from scheduler.domain.work import BudgetDefinition, Limit, Meter
from scheduler.ports.flows import StoredFlow
from scheduler.providers.profile import MINUTE_PACE as PACE
from scheduler.providers.profile import SLICES_PACE
from scheduler.services.budgets.limits import (
    batch_budget,
    caller_account,
    connection_budget,
    flow_definition,
    key_budget,
    key_budgets,
    queue_definition,
    resource_budget,
)
from tests.store.factories import NOW, Tenant, connection_in, key_in, new_id, resource_in

TENANT = Tenant(*(UUID(int=i) for i in range(1, 7)))
MINUTE = Capacity(Period.MINUTE, requests=60)


def connection(**changes: Any) -> Connection:
    return connection_in(TENANT, **({"capacity": (), "max_in_flight": None} | changes))


def resource(**changes: Any) -> Resource:
    return resource_in(TENANT, TENANT.resource_id, "r", **changes)


def key(**changes: Any) -> ApiKey:
    return key_in(TENANT, **({"capacity": ()} | changes))


def stored_batch() -> Batch:
    return Batch(
        workspace_id=TENANT.workspace_id,
        environment_id=TENANT.environment_id,
        batch_id=UUID(int=9),
        type=BatchType.ASYNC,
        status=BatchStatus.PENDING,
        callback=None,
        capacity=(MINUTE,),
        max_in_flight=None,
        priority=Priority.NORMAL,
        metadata=None,
        deadline=None,
        paused=False,
        total_items=9,
        stored=9,
        sealed=True,
        completed=0,
        failed=0,
        cancelled=0,
        estimated_prompt_tokens=0,
        prompt_tokens=0,
        output_tokens=0,
        error_message=None,
        created_at=NOW,
        updated_at=NOW,
        completed_at=None,
        api_key_id=TENANT.api_key_id,
        api_key_name=None,
        last_event=1,
        version=3,
    )


def test_a_connection_without_limits_has_a_budget_all_the_same() -> None:
    assert connection_budget(connection(version=4)) == BudgetDefinition(
        f"connection-{TENANT.connection_id}", 4, (), None
    )


def test_sliding_limits_of_a_connection_are_paced_and_quotas_are_not() -> None:
    limits = connection_budget(
        connection(capacity=(Capacity(Period.DAY, requests=5), Capacity(Period.MINUTE, requests=60, tokens=9)))
    ).limits
    assert limits == (Limit("MINUTE", 60, 9, PACE, 1_000), Limit("DAY", 5, None, None, 1_000))


def test_the_profile_sets_pace_and_burst() -> None:
    sliced = connection_budget(connection(capacity=(MINUTE,), provider=Provider.AZURE)).limits
    assert sliced == (Limit("MINUTE", 60, None, SLICES_PACE, 100),)
    assert connection_budget(connection(capacity=(MINUTE,), profile="azure")).limits == sliced
    own_burst = Capacity(Period.MINUTE, requests=60, burst_seconds=2)
    assert connection_budget(connection(capacity=(own_burst,), profile="azure")).limits[0].burst_ms == 2_000


def test_the_burst_is_taken_in_seconds() -> None:
    capacity = Capacity(Period.MINUTE, requests=60, burst_seconds=0.25)
    assert connection_budget(connection(capacity=(capacity,))).limits[0].burst_ms == 250


def test_of_two_capacities_of_a_period_the_lowest_figures_hold() -> None:
    capacity = (Capacity(Period.MINUTE, requests=60, tokens=500), Capacity(Period.MINUTE, requests=90, tokens=400))
    assert connection_budget(connection(capacity=capacity)).limits == (Limit("MINUTE", 60, 400, PACE, 1_000),)


def test_disabled_and_empty_capacities_do_not_count() -> None:
    capacity = (Capacity(Period.MINUTE, requests=1, enabled=False), Capacity(Period.SECOND))
    assert connection_budget(connection(capacity=capacity)).limits == ()
    assert resource_budget(resource(capacity=capacity)) is None


def test_the_others_have_a_budget_only_when_something_is_to_be_held_and_no_pace() -> None:
    assert resource_budget(resource()) is None
    limited = resource_budget(resource(capacity=(MINUTE,)))
    assert limited is not None
    assert limited.limits == (Limit("MINUTE", 60, None, None, 1_000),)


def test_a_key_has_a_budget_all_the_same_because_what_waits_must_meet_a_limit_that_comes_later() -> None:
    own = key(max_in_flight=None)
    assert key_budgets(own, "192.0.2.1") == (key_budget(own),)
    assert (key_budget(own).limits, key_budget(own).max_in_flight) == ((), None)
    assert key_budget(key(max_in_flight=3)).max_in_flight == 3


def test_a_resource_whose_capacities_are_not_enforced_keeps_its_calls_in_flight() -> None:
    assert resource_budget(resource(capacity=(MINUTE,), enforce_capacity=False)) is None
    found = resource_budget(resource(capacity=(MINUTE,), enforce_capacity=False, max_in_flight=2))
    assert found is not None
    assert (found.limits, found.max_in_flight) == ((), 2)


def test_a_queue_names_its_targets_in_order_and_only_budgets_that_exist() -> None:
    first, second = new_id(), new_id()
    definition = queue_definition(resource(targets=(Target(first, "a"), Target(second, "b"))))
    assert definition.targets == (f"connection-{first}", f"connection-{second}")
    assert (definition.budgets, definition.weight, definition.spill) == ((), 8.0, True)
    assert queue_definition(resource(capacity=(MINUTE,))).budgets == (f"resource-{TENANT.resource_id}",)


def test_a_flow_is_bound_by_its_batch_and_its_key_as_far_as_they_have_limits() -> None:
    batch = stored_batch()
    flow = StoredFlow(batch.batch_id, TENANT.resource_id, TENANT.workspace_id, TENANT.environment_id, 0, 2, 9, 1, 17)
    definition = flow_definition(batch, flow, key(max_in_flight=1))
    assert batch_budget(batch) is not None
    assert definition.budgets == (f"batch-{batch.batch_id}", f"key-{TENANT.api_key_id}")
    assert (definition.end, definition.version, definition.weight) == (17, batch.version, 4.0)
    assert flow_definition(batch, flow).budgets == (f"batch-{batch.batch_id}",)


def test_where_a_provider_counts_the_input_only_its_limit_does_too() -> None:
    tokens = (Capacity(Period.MINUTE, tokens=1_000),)
    gemini = connection_budget(connection(capacity=tokens, provider=Provider.GEMINI)).limits
    assert [limit.meter for limit in gemini] == [Meter.INPUT]
    assert [limit.meter for limit in connection_budget(connection(capacity=tokens)).limits] == [Meter.TOTAL]


def test_what_counts_callers_apart_is_an_account_of_their_address() -> None:
    per_address = Capacity(Period.MINUTE, requests=6, dimension="source-ip")
    own = key(capacity=(MINUTE, per_address), max_in_flight=None)
    whole, account = key_budgets(own, "192.0.2.1")
    assert whole == key_budget(own)
    assert [limit.requests for limit in whole.limits] == [60]
    assert [limit.requests for limit in account.limits] == [6]
    assert account.budget_id.startswith(f"address-{own.api_key_id}-")
    others = {key_budgets(own, caller)[1].budget_id for caller in ("192.0.2.1", "192.0.2.2", None)}
    assert len(others) == 3
    assert account.version == own.version
    assert caller_account(own, "192.0.2.1") == account
    lifted = caller_account(key(max_in_flight=None), "192.0.2.1")
    assert (lifted.budget_id, lifted.limits) == (account.budget_id, ())


def test_a_batch_is_bound_by_the_account_of_its_caller() -> None:
    own = key(capacity=(Capacity(Period.MINUTE, requests=6, dimension="source-ip"),), max_in_flight=None)
    batch = replace(stored_batch(), caller="192.0.2.1")
    flow = StoredFlow(batch.batch_id, TENANT.resource_id, TENANT.workspace_id, TENANT.environment_id, 3, 1, 9, 1, 9)
    [of_batch, of_key, account] = flow_definition(batch, flow, own).budgets
    assert of_batch.startswith("batch-")
    assert (of_key, account) == (key_budget(own).budget_id, caller_account(own, "192.0.2.1").budget_id)
