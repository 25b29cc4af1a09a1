"""What is used of quotas, kept through the loss of Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from scheduler.domain.quota import QuotaUse


class QuotaStore(Protocol):
    """One row a quota."""

    async def keep_quotas(self, uses: Sequence[QuotaUse]) -> None:
        """Store these. Of one period the higher figures stay, an older period is ignored: writers may overtake each
        other. Whoever counted in another zone is replaced."""
        ...

    async def quotas(self, budget_ids: Sequence[str]) -> Sequence[QuotaUse]:
        """What is stored of these budgets."""
        ...

    async def forget_quotas(self) -> int:
        """Drop what has not changed for a time in which every period but LIFETIME has ended, and of LIFETIME for a
        year; answers how many rows."""
        ...
