"""What is used of quotas: limits per hour and longer."""

from __future__ import annotations

from typing import NamedTuple


class QuotaUse(NamedTuple):
    """One quota of one budget. code and period_index name its period as the engine counts it; only it reads them."""

    budget_id: str
    code: str
    period_index: int
    requests: int
    tokens: int
