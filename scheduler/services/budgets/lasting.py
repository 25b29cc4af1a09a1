"""Budgets whose quotas outlast what Redis keeps of them: accounts of caller addresses, and of batches that ended."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.domain.work import BudgetDefinition, BudgetKind
from scheduler.ports.engine import Engine
from scheduler.ports.quotas import QuotaStore
from scheduler.services.budgets.limits import SLIDING

_FORGOTTEN = tuple(f"{kind.value}-" for kind in (BudgetKind.ADDRESS, BudgetKind.BATCH))
"""Budgets that the engine forgets when they are not used for a time, and that no recovery knows of then."""


async def set_lasting_limits(
    quotas: QuotaStore, engine: Engine, shard: int, budgets: Sequence[BudgetDefinition]
) -> None:
    """Define budgets; of one that the engine has forgotten, or lost, quotas go on from their checkpoint. Raises
    Unavailable."""
    lasting = [budget.budget_id for budget in budgets if _lasts(budget)]
    known = await engine.headroom(shard, lasting) if lasting else {}
    lost = [each for each in lasting if each not in known]
    # Before they are defined: whoever tries again after Postgres was away would take them for known.
    uses = await quotas.quotas(lost) if lost else ()
    await engine.set_limits(shard, budgets)
    if uses:
        await engine.restore_quotas(shard, uses)


def _lasts(budget: BudgetDefinition) -> bool:
    return budget.budget_id.startswith(_FORGOTTEN) and any(limit.period not in SLIDING for limit in budget.limits)
