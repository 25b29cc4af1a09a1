"""Pauses of what a provider refuses for now: a connection, or one model of it."""

from __future__ import annotations

from uuid import UUID

from scheduler.domain.retry import spread_ms
from scheduler.domain.work import BudgetDefinition, BudgetKind, PauseCause, budget_id
from scheduler.ports.engine import Engine
from scheduler.services.budgets.limits import model_budget_id

ALL_MODELS = ""


def budget_of(connection_id: UUID, model: str) -> str:
    """The budget of a connection, or of one of its models."""
    return model_budget_id(connection_id, model) if model else budget_id(BudgetKind.CONNECTION, connection_id)


async def shut_budget(
    engine: Engine,
    shard: int,
    connection_id: UUID,
    model: str,
    pause_ms: int,
    reason: str,
    cause: PauseCause,
    called: str = "",
) -> None:
    """Let nothing through a connection, or one model of it, for a while, then one probe at a time. Raises Unavailable.

    The budget of a model may not be defined before something is learned of it. Version 0: whatever was learned stays.
    called: the model that was refused; limits that were learned of it are used with the same care from then on.
    """
    budget = budget_of(connection_id, model)
    learned = model_budget_id(connection_id, called) if called and not model else ""
    if model:
        await engine.set_limits(shard, [BudgetDefinition(budget, 0, ())])
    await engine.pause_budget(shard, budget, pause_ms, reason, cause, learned)


async def rest(
    engine: Engine,
    shard: int,
    connection_id: UUID,
    called: str,
    told_ms: int,
    reason: str,
    cause: PauseCause,
    wall_s: float,
    *,
    one_model: bool,
) -> None:
    """The same for as long as a provider told, spread a little where it told everybody the same. Raises Unavailable.
    called: the model that was refused; one_model: it alone rests. wall_s: wall time in seconds, on which all hosts of
    an installation about agree; monotonic clocks begin anywhere."""
    pause_ms, model = told_ms, called if one_model else ALL_MODELS
    if cause is not PauseCause.TROUBLE:
        pause_ms = spread_ms(told_ms, budget_of(connection_id, model), wall_s)
    await shut_budget(engine, shard, connection_id, model, pause_ms, reason, cause, called)
