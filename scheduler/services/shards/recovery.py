"""Make a shard usable: agree on its epoch, and after a loss of Redis build everything anew from Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from scheduler import metrics
from scheduler.domain.batch import Batch
from scheduler.domain.errors import Unavailable
from scheduler.domain.status import FINAL_BATCH
from scheduler.domain.work import BudgetDefinition
from scheduler.ports.engine import Engine
from scheduler.ports.flows import StoredFlow
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import (
    batch_budgets,
    connection_budget,
    key_budget,
    resource_budget,
)
from scheduler.services.budgets.model_limits import model_budgets
from scheduler.services.budgets.parkings import reapply
from scheduler.services.budgets.pool_limits import pool_budgets, pooled_queue
from scheduler.services.shards.refill import Refill
from scheduler.settings import Settings

PAGE = 500
"""Flows and definitions handled at once."""
QUOTAS = 200
"""Quotas restored at once."""
WAIT_S = 0.2
"""Pause between two looks at a recovery that another process carries out."""
PATIENCE_S = 60.0
"""After this long without a ruling epoch, the caller is told to try again later."""
ANNOUNCED_S = 2.0
"""After a loss nothing is claimed for so long: workers look for a loss four times meanwhile (workers.renewer), and
announce the calls that they have in flight."""
ABREAST = 8
"""Flows repaired at the same time."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """raised: a new epoch was opened here, and what was lost is being brought back."""

    epoch: int
    raised: bool


@dataclass(frozen=True, slots=True)
class _Running:
    """A try of this process. opened: done as soon as the epoch is agreed on."""

    opened: asyncio.Future[Recovered]
    task: asyncio.Task[None]


class Recovery:
    """One per process. Safe to call from any number of processes at once."""

    def __init__(self, settings: Settings, store: Store, engine: Engine) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._refill = Refill(store, engine)
        self._running: dict[int, _Running] = {}

    async def ensure(self, shard: int) -> Recovered:
        """Make this process know the shard's epoch; raise it and repair the shard when Redis does not hold it.

        Answers when the epoch is agreed on: the repair goes on beside, and nothing can be claimed until it ends.
        Callers in one process share one try. Raises Unavailable when a store is down.
        """
        running = self._running.get(shard)
        if running is not None and running.opened.done() and self._engine.agreed_epoch(shard) is None:
            await asyncio.wait([running.task])  # it was overtaken by the next loss, and finds out
            running = self._running.get(shard)
        if running is None:
            opened: asyncio.Future[Recovered] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._try(shard, opened), name=f"recover-{shard}")
            running = self._running[shard] = _Running(opened, task)
        return await asyncio.shield(running.opened)

    async def finished(self, shard: int) -> None:
        """Wait until nothing is being recovered on the shard by this process."""
        running = self._running.get(shard)
        if running is not None:
            await asyncio.wait([running.task])

    async def close(self) -> None:
        """Stop what this process recovers, before its stores go: the next one that asks finishes it."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _try(self, shard: int, opened: asyncio.Future[Recovered]) -> None:
        try:
            await self._agree(shard, opened)
        except Exception as problem:
            if not opened.done():
                opened.set_exception(problem)
                opened.exception()  # whoever asked may be gone
            elif isinstance(problem, Unavailable):
                _log.warning("shard.recovery_cut_short", shard=shard, reason=problem.message)
            else:
                _log.exception("shard.recovery_failed", shard=shard)
        finally:
            opened.cancel()
            del self._running[shard]

    async def _agree(self, shard: int, opened: asyncio.Future[Recovered]) -> None:
        for _ in range(round(PATIENCE_S / WAIT_S)):
            async with self._store.shards.exclusive(f"recover-{shard}") as mine:
                if mine:
                    await self._recover(shard, opened)
                    return
            joined = await self._join(shard)
            if joined is not None:
                opened.set_result(Recovered(joined, raised=False))
                return
            await asyncio.sleep(WAIT_S)
        raise Unavailable("The scheduler is recovering; try again shortly.")

    async def _join(self, shard: int) -> int | None:
        """The epoch that rules, joined; None when there is none."""
        stored, identity = await self._store.shards.epoch(shard)
        if stored == 0 or identity != await self._engine.identity(shard):
            return None
        if await self._engine.epoch_of(shard) != stored:
            return None
        await self._engine.join_shard(shard, stored, identity)
        return stored

    async def _recover(self, shard: int, opened: asyncio.Future[Recovered]) -> None:
        """Under the lock: join; or raise the epoch and bring back what was lost, or what another began to and died."""
        stored, identity = await self._store.shards.epoch(shard)
        present = await self._engine.identity(shard)
        if stored > 0 and identity == present and await self._engine.epoch_of(shard) == stored:
            begun = await self._engine.join_shard(shard, stored, present)
            opened.set_result(Recovered(stored, raised=False))
            if begun:
                await self._bring_back(shard)
            return
        raised = await self._store.shards.raise_epoch(shard, stored, present)
        if raised is None:
            raise Unavailable("The scheduler is recovering; try again shortly.")
        await self._engine.open_shard(shard, raised, present, recovering=stored > 0)
        opened.set_result(Recovered(raised, raised=True))
        if stored == 0:
            _log.info("shard.opened", shard=shard, epoch=raised)
            await self._rebuild(shard, spent=False)
            return
        metrics.EPOCHS_RAISED.inc()
        _log.warning("shard.epoch_raised", shard=shard, epoch=raised, before=identity, now=present)
        await self._bring_back(shard)

    async def _bring_back(self, shard: int) -> None:
        announced = asyncio.create_task(asyncio.sleep(ANNOUNCED_S))
        flows = await self._rebuild(shard, spent=True)
        await announced
        await self._engine.recovered(shard)
        _log.info("shard.recovered", shard=shard, flows=flows)

    async def _rebuild(self, shard: int, *, spent: bool) -> int:
        """Limits before queues before flows: nothing may run before all that binds it is there."""
        await self.apply_setup(shard, spent=spent)
        here = {e.environment_id for e in await self._store.setup.environments() if e.shard == shard}
        await reapply(self._store, self._engine, shard, here, datetime.now(UTC))
        flows = 0
        abreast = asyncio.Semaphore(ABREAST)

        async def mend(batch: Batch | None, flow: StoredFlow) -> bool:
            async with abreast:
                return await self.repair(shard, batch, flow)

        async for page, batches in self.unfinished(shard):
            budgets = await self.budgets_of(batches.values())
            if budgets:
                await self._engine.set_limits(shard, budgets, spent=spent)
                await self._restore(shard, budgets, spent=spent)
            flows += sum(await asyncio.gather(*(mend(batches.get(flow.batch_id), flow) for flow in page)))
        return flows

    async def budgets_of(self, batches: Collection[Batch]) -> list[BudgetDefinition]:
        """What binds these batches beside what was set up: their own limits, and their callers'."""
        if not batches:
            return []
        wanted = {batch.api_key_id for batch in batches}
        keys = {key.api_key_id: key for key in await self._store.setup.api_keys() if key.api_key_id in wanted}
        found = (
            budget
            for batch in batches
            for budget in batch_budgets(batch, keys.get(batch.api_key_id) if batch.api_key_id else None)
        )
        return list({budget.budget_id: budget for budget in found}.values())

    async def apply_setup(self, shard: int, *, spent: bool = False) -> None:
        """Limits and queues of everything that is set up on the shard; older versions are ignored by the
        engine."""
        store = self._store.setup
        here = {e.environment_id for e in await store.environments() if e.shard == shard}
        connections = [c for c in await store.connections() if c.environment_id in here]
        resources = [r for r in await store.resources() if r.environment_id in here]
        keys = [k for k in await store.api_keys() if k.environment_id in here]
        optional = map(resource_budget, resources)
        learned = await store.learned_limits([c.connection_id for c in connections])
        budgets = [
            *map(connection_budget, connections),
            *map(key_budget, keys),
            *(b for b in optional if b is not None),
        ]
        budgets += model_budgets(resources, connections, learned)
        pools = {p.environment_id: p for p in await store.pool_definitions() if p.environment_id in here}
        for definition in pools.values():
            budgets += pool_budgets(definition, resources, connections)
        for chunk in _chunks(budgets):
            await self._engine.set_limits(shard, chunk, spent=spent)
            await self._restore(shard, chunk, spent=spent)
        queues = [pooled_queue(resource, pools.get(resource.environment_id)) for resource in resources]
        for start in range(0, len(queues), PAGE):
            await self._engine.set_queues(shard, queues[start : start + PAGE])

    async def _restore(self, shard: int, budgets: Sequence[BudgetDefinition], *, spent: bool) -> None:
        """After a loss quotas begin with what was used by the last checkpoint."""
        if spent:
            uses = await self._store.quotas.quotas([budget.budget_id for budget in budgets])
            for start in range(0, len(uses), QUOTAS):
                await self._engine.restore_quotas(shard, uses[start : start + QUOTAS])

    async def unfinished(self, shard: int) -> AsyncIterator[tuple[Sequence[StoredFlow], dict[UUID, Batch]]]:
        """Pages of flows whose batches are not final, with those batches."""
        after: tuple[UUID, UUID] | None = None
        while True:
            page = await self._store.shards.unfinished_flows(shard, after=after, limit=PAGE)
            if not page:
                return
            ids = sorted({flow.batch_id for flow in page})
            yield page, {batch.batch_id: batch for batch in await self._store.shards.batches(ids)}
            after = (page[-1].batch_id, page[-1].resource_id)

    async def repair(self, shard: int, batch: Batch | None, flow: StoredFlow) -> bool:
        """Build a flow's window anew under a higher generation. False when there is nothing to do or
        another does it."""
        if batch is None or batch.status in FINAL_BATCH:
            return False
        lowest = await self._store.items.lowest_unfinished(flow.batch_id, flow.resource_id)
        if lowest is None:
            return False
        generation = await self._store.shards.raise_generation(flow.batch_id, flow.resource_id, flow.generation)
        if generation is None:
            return False
        definition = await self._refill.define(batch, flow)
        cursor = lowest - 1
        if not await self._engine.repair(shard, definition, generation, cursor):
            return False
        filled = await self._refill.fill(shard, definition, generation, cursor, self._settings.window_entries)
        metrics.REPAIRED_FLOWS.inc()
        metrics.REFILLED_ITEMS.inc(filled.pushed)
        return True


def _chunks(budgets: Sequence[BudgetDefinition]) -> list[Sequence[BudgetDefinition]]:
    return [budgets[start : start + PAGE] for start in range(0, len(budgets), PAGE)]
