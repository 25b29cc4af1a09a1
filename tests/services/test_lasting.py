"""Quotas that outlast their budgets go on from their checkpoints, also when these cannot be read at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.domain.quota import QuotaUse
from scheduler.domain.work import BudgetDefinition, Limit
from scheduler.ports.engine import Engine
from scheduler.ports.quotas import QuotaStore
from scheduler.services.budgets.lasting import set_lasting_limits

ACCOUNT = "address-k-1"
BUDGET = BudgetDefinition(ACCOUNT, 1, (Limit("DAY", 10, None),))
USE = QuotaUse(ACCOUNT, "D", 20_779, 7, 70)


class FakeEngine:
    def __init__(self) -> None:
        self.defined: set[str] = set()
        self.restored: list[QuotaUse] = []

    async def headroom(self, _shard: int, budget_ids: Sequence[str]) -> dict[str, Any]:
        return {each: None for each in budget_ids if each in self.defined}

    async def set_limits(self, _shard: int, budgets: Sequence[BudgetDefinition]) -> None:
        self.defined |= {budget.budget_id for budget in budgets}

    async def restore_quotas(self, _shard: int, uses: Sequence[QuotaUse]) -> None:
        assert {use.budget_id for use in uses} <= self.defined
        self.restored += uses


class FakeQuotas:
    def __init__(self) -> None:
        self.away = True

    async def quotas(self, _budget_ids: Sequence[str]) -> Sequence[QuotaUse]:
        if self.away:
            raise Unavailable("away")
        return [USE]


async def test_what_was_used_is_restored_by_the_next_try_when_postgres_was_away() -> None:
    engine, quotas = FakeEngine(), FakeQuotas()

    async def define() -> None:
        await set_lasting_limits(cast("QuotaStore", quotas), cast("Engine", engine), 3, [BUDGET])

    with pytest.raises(Unavailable):
        await define()
    quotas.away = False
    await define()
    await define()
    assert engine.restored == [USE]
