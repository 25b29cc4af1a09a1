"""Quotas on their way to Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.domain.quota import QuotaHandout, QuotaUse
from workers.checkpointer import AT_ONCE, Checkpointed, Checkpointer


class FakeEngine:
    """Hands out what changed; what was not receipted, again after a time."""

    def __init__(self, uses: Sequence[QuotaUse]) -> None:
        self.changed = {use.budget_id: use for use in uses}
        self.handed: dict[int, dict[str, QuotaUse]] = {}
        self.answers = 0
        self.lost = False

    async def checkpoint(self, shard: int, most: int, stored: int | None = None) -> QuotaHandout:
        if self.lost:
            raise Unavailable("lost")
        if stored is not None:
            del self.handed[stored]
        taken = {budget: self.changed.pop(budget) for budget in list(self.changed)[:most]}
        self.answers += 1
        self.handed |= {self.answers: taken} if taken else {}
        return QuotaHandout(self.answers, tuple(taken.values()))

    def time_goes_by(self) -> None:
        for taken in self.handed.values():
            self.changed |= taken
        self.handed.clear()


class FakeStore:
    """Keeps, or is away."""

    def __init__(self) -> None:
        self.kept: dict[str, QuotaUse] = {}
        self.away = False
        self.swept = 0

    async def keep_quotas(self, uses: Sequence[QuotaUse]) -> None:
        if self.away:
            raise Unavailable("away")
        self.kept |= {use.budget_id: use for use in uses}

    async def quotas(self, budget_ids: Sequence[str]) -> Sequence[QuotaUse]:
        return [self.kept[budget] for budget in budget_ids]

    async def forget_quotas(self) -> int:
        self.swept += 1
        return 0


def duty(uses: Sequence[QuotaUse]) -> tuple[Checkpointer, FakeEngine, FakeStore]:
    engine, store = FakeEngine(uses), FakeStore()
    return Checkpointer(store, cast(Any, engine), lambda: [3]), engine, store


async def test_everything_that_changed_is_stored_in_bounded_statements() -> None:
    uses = [QuotaUse(f"b{n}", "D", 7, n, n) for n in range(AT_ONCE * 2 + 1)]
    checkpointer, engine, store = duty(uses)
    assert await checkpointer.run_once() == Checkpointed(len(uses))
    assert len(store.kept) == len(uses)
    assert await checkpointer.run_once() == Checkpointed(0)
    assert engine.handed == {}, "all of it was receipted"
    assert store.swept == 1


async def test_what_postgres_misses_is_not_receipted_and_is_stored_later() -> None:
    checkpointer, engine, store = duty([QuotaUse("b", "D", 7, 1, 2)])
    store.away = True
    with pytest.raises(Unavailable):
        await checkpointer.run_once()
    store.away = False
    assert await checkpointer.run_once() == Checkpointed(0)
    engine.time_goes_by()
    assert await checkpointer.run_once() == Checkpointed(1)


async def test_a_receipt_whose_call_failed_is_not_told_again() -> None:
    checkpointer, engine, store = duty([QuotaUse("b", "D", 7, 1, 2)])
    await checkpointer.run_once()
    engine.lost = True
    await checkpointer.run_once()
    engine.lost = False
    engine.time_goes_by()
    assert await checkpointer.run_once() == Checkpointed(1), "stored twice, which changes nothing"
    assert store.kept == {"b": QuotaUse("b", "D", 7, 1, 2)}


async def test_a_lost_shard_stops_nothing() -> None:
    checkpointer, engine, _ = duty([QuotaUse("b", "D", 7, 1, 2)])
    engine.lost = True
    assert await checkpointer.run_once() == Checkpointed(0)
