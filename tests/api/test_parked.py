"""Parked connections over HTTP: shown where people look, and opened again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.services.budgets.parkings import Parkings
from scheduler.services.budgets.pausing import budget_of
from tests.api.world import ApiWorld

REASON = "You exceeded your current quota."


async def park(world: ApiWorld, model: str = "") -> None:
    """What a worker does at a fatal answer."""
    parkings = Parkings(world.core.store.parkings, world.core.engine, timedelta(hours=1), lambda: datetime.now(UTC))
    done = await parkings.park(
        await world.shard(), UUID(world.connection), model, code="PROVIDER_NO_CREDIT", reason=REASON, told_ms=None
    )
    assert done


async def read(world: ApiWorld, path: str) -> Any:
    answer = await world.admin.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def path_of(world: ApiWorld) -> str:
    return f"{world.at('ai-connection')}/{world.connection}"


@pytest.fixture
async def parked(world: ApiWorld) -> ApiWorld:
    """A world whose connection is parked while a batch waits on it."""
    await world.create(count=2)
    await park(world)
    return world


async def test_a_parked_connection_says_why_wherever_it_is_shown(parked: ApiWorld) -> None:
    for found in (
        await read(parked, path_of(parked)),
        (await read(parked, parked.at("ai-connection")))["data"][0],
        await read(parked, f"{path_of(parked)}/headroom"),
        (await read(parked, "/v1/status"))["parked"][0],
    ):
        [parking] = found["parked"]
        assert (parking["model"], parking["code"], parking["reason"]) == ("", "PROVIDER_NO_CREDIT", REASON)
        assert datetime.fromisoformat(parking["until"]) > datetime.now(UTC) + timedelta(minutes=50)
    headroom = await read(parked, f"{path_of(parked)}/headroom")
    assert headroom["budget"]["pause"]["reason"] == REASON
    assert datetime.fromisoformat(headroom["oldestWaitingAt"]) <= datetime.now(UTC)
    of_resource = await read(parked, f"{parked.at('ai-resource')}/{parked.resource}/headroom")
    assert of_resource["targets"][0]["parked"][0]["reason"] == REASON
    assert of_resource["oldestWaitingAt"] == headroom["oldestWaitingAt"]
    assert of_resource["targets"][0]["oldestWaitingAt"] == headroom["oldestWaitingAt"]


async def test_a_batch_on_it_tells_why_it_waits(parked: ApiWorld) -> None:
    batch = (await read(parked, parked.batches))["data"][0]
    shown = await read(parked, f"{parked.batches}/{batch['batchId']}?includesItems=false")
    assert shown["errorMessage"] == f"Waiting. Connection sim is paused: {REASON}"
    assert shown["feasibility"]["bindingLimit"]["reason"] == REASON


async def test_it_is_resumed_by_hand(parked: ApiWorld) -> None:
    await park(parked, model="m")
    for _ in range(2):  # the second one finds nothing to do
        answer = await parked.admin.post(f"{parked.at('ai-connection')}/sim/resume")
        assert answer.status_code == 200, answer.text
        assert answer.json()["parked"] == []
    headroom = await read(parked, f"{path_of(parked)}/headroom")
    assert headroom["budget"]["pause"] is None
    assert (await read(parked, "/v1/status"))["parked"] == []


async def test_a_resume_that_the_engine_did_not_hear_can_be_asked_for_again(
    parked: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await park(parked, model="m")
    budgets = [budget_of(UUID(parked.connection), model) for model in ("", "m")]
    engine, shard = parked.core.engine, await parked.shard()

    async def away(*_: object) -> None:
        raise Unavailable("Redis is away.")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "resume_budget", away)
        assert (await parked.admin.post(f"{path_of(parked)}/resume")).status_code == 503
    assert len((await read(parked, path_of(parked)))["parked"]) == 2
    assert (await parked.admin.post(f"{path_of(parked)}/resume")).json()["parked"] == []
    accounts = await engine.headroom(shard, budgets)
    assert [accounts[each].paused_ms for each in budgets] == [0, 0]


async def test_it_is_tried_again_with_another_key(parked: ApiWorld) -> None:
    answer = await parked.admin.put(path_of(parked), json={"description": "the same account"})
    assert len(answer.json()["parked"]) == 1
    config = {"baseUrl": "http://127.0.0.1:9/v1", "apiKey": "sk-another"}
    answer = await parked.admin.put(path_of(parked), json={"config": config})
    assert answer.json()["parked"] == []


async def test_only_who_may_set_up_may_resume(parked: ApiWorld) -> None:
    answer = await parked.client.post(f"{parked.at('ai-connection')}/sim/resume")
    assert answer.status_code == 403
    answer = await parked.admin.post(f"{parked.at('ai-connection')}/nobody/resume")
    assert answer.json()["errorCode"] == "AI_CONNECTION_NOT_FOUND"
