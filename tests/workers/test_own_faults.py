"""A fault of our own between an answer and its record: the item ends all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scheduler.bootstrap import open_core
from scheduler.domain.status import BatchStatus
from scheduler.settings import Settings
from tests.workers.provider import FakeProvider
from tests.workers.world import World


async def test_an_answer_that_we_cannot_take_in_spends_the_attempts_of_its_item(
    world: World, provider: FakeProvider, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a fault of our own")

    monkeypatch.setattr("workers.learner.Learner.saw", broken)
    resource = await world.resource(await world.connection(provider.base_url), max_retries=2)
    async with open_core(make_settings(lease_ms=2_000)) as core, world.worker(core):
        ended = await world.ended(await world.submit(resource, ["one"]))
    item = (await world.items(ended))[0]
    assert (ended.status, item.error_code, len(provider.seen)) == (BatchStatus.FAILED, "INTERNAL_ERROR", 3)
