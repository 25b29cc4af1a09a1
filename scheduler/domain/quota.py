"""What is used of quotas: limits per hour and longer."""

from __future__ import annotations

from typing import NamedTuple


class QuotaUse(NamedTuple):
    """One quota of one budget. code and period_index name its period as the engine counts it; only it reads them. zone:
    whose days it counted (domain.work.Limit)."""

    budget_id: str
    code: str
    period_index: int
    requests: int
    tokens: int
    zone: str = ""


class QuotaHandout(NamedTuple):
    """Uses that the engine gave to one caller to store. receipt: to be told to the engine when they are stored; until
    then it keeps these budgets, and gives them to another after a time."""

    receipt: int
    uses: tuple[QuotaUse, ...]
