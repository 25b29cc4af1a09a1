"""Why does it wait, and until when? Reads the engine, forecasts, and names what binds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from scheduler.domain.batch import Batch, Item
from scheduler.domain.errors import Unavailable
from scheduler.domain.forecast import at_end, forecast
from scheduler.domain.ids import ItemIds
from scheduler.domain.status import FINAL_BATCH, FINAL_ITEM, ItemStatus
from scheduler.ports.engine import Engine
from scheduler.ports.flows import StoredFlow
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import flow_ref
from scheduler.services.callers.tenants import Tenants
from scheduler.services.explain.budget_names import BudgetNames
from scheduler.services.explain.telling import (
    Part,
    batch_end,
    hold_of,
    is_limit,
    item_end,
    latest_part,
    meets_deadline,
    moment_of,
    part_explanation,
    share_of,
    state_of,
)
from scheduler.services.explain.views import (
    BatchExplanation,
    Feasibility,
    ItemExplanation,
    Outlook,
    State,
)
from scheduler.services.explain.wording import held_by, in_words, late_in_words
from scheduler.services.shards.access import Shards

MOST_FLOWS = 64
"""Parts of a batch that are looked at; of a batch on more resources, the first so many."""
MOST_AT_CREATION = 8
PATIENCE_S = 1.0
STUCK = timedelta(seconds=30)
"""A connection that is shut for longer makes a batch say why it waits."""

_log = structlog.get_logger(__name__)


class Explaining:
    """Explains items and batches. now: wall time; the engine's spans are added to it."""

    def __init__(
        self, store: Store, engine: Engine, tenants: Tenants, shards: Shards, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._engine = engine
        self._tenants = tenants
        self._shards = shards
        self._now = now

    async def item(self, batch: Batch, item: Item) -> ItemExplanation:
        """Why an item waits. Raises Unavailable when Redis is away."""
        names = await self._names(batch)
        standing, found, run_ms = None, None, None
        if item.status not in FINAL_ITEM:
            flows = await self._store.batches.flows(batch.batch_id)
            flow = next(each for each in flows if each.resource_id == item.resource_id)
            run_ms = await self._store.outlook.run_ms(batch.batch_id)
            shard, share = await self._tenants.shard_of(batch.environment_id), share_of(flow)
            ref = flow_ref(flow)
            standing = await self._shards.run(shard, lambda: self._engine.explain(shard, ref, item.seq, share))
            found = forecast(standing, run_ms) if standing is not None else None
        now = self._now()
        state = state_of(item, standing)
        hold = hold_of(found.binding, names, now) if found and found.binding else None
        start = moment_of(now, found.start_ms) if found and state in ("waiting", "deferred") else item.started_at
        end = item.completed_at if state == "finished" else item_end(start or now, found, run_ms)
        return ItemExplanation(
            batch_id=batch.batch_id,
            item_id=ItemIds(batch.batch_id).of(item.seq),
            resource_id=item.resource_id,
            resource=names.resource(item.resource_id),
            status=ItemStatus.RUNNING.value if state == "running" else item.status.value,
            state=state,
            binding_limit=hold,
            items_ahead=round(found.ahead.requests) if found else 0,
            requests_ahead=round(found.first.requests) if found else 0,
            earliest_start=start,
            expected_end=end,
            limits=[hold_of(bound, names, now) for bound in found.limits if is_limit(bound)] if found else [],
            message=in_words(state, hold, start),
        )

    async def batch(self, batch: Batch) -> BatchExplanation:
        """Why a batch is not done yet. Raises Unavailable when Redis is away."""
        names = await self._names(batch)
        flows = await self._store.batches.flows(batch.batch_id)
        run_ms = await self._store.outlook.run_ms(batch.batch_id)
        parts = await self._parts(batch, flows[:MOST_FLOWS], run_ms)
        now = self._now()
        told = [part_explanation(part, names, now, run_ms) for part in parts]
        last = latest_part(parts)
        hold = hold_of(last.last.binding, names, now) if last and last.last and last.last.binding else None
        starts = [each.earliest_start for each in told if each.earliest_start is not None]
        end = batch_end(parts, now, run_ms)
        waiting = any(part.standing is not None and part.standing.own.left.requests >= 1 for part in parts)
        state: State = "finished" if batch.ended else "waiting" if waiting else "running" if parts else "opening"
        return BatchExplanation(
            batch_id=batch.batch_id,
            status=batch.status.value,
            binding_limit=hold,
            items_ahead=sum(each.waiting for each in told),
            requests_ahead=max((each.requests_ahead for each in told), default=0),
            earliest_start=min(starts, default=None),
            expected_end=batch.completed_at if batch.ended else end,
            deadline=batch.deadline,
            meets_deadline=meets_deadline(batch, end),
            resources=told,
            message=in_words(state, hold, min(starts, default=None), what="Its next item"),
        )

    async def outlook(self, batch: Batch) -> Outlook | None:
        """When a live batch ends; None when that cannot be looked at now (it is over, or Redis is away)."""
        if batch.status in FINAL_BATCH:
            return None
        try:
            # The batch itself is answered, whatever we fail to say about its future.
            async with asyncio.timeout(PATIENCE_S):
                return await self._look_ahead(batch)
        except (Unavailable, TimeoutError) as error:
            _log.warning("outlook.missing", batch_id=str(batch.batch_id), reason=str(error))
        except Exception:
            _log.exception("outlook.failed", batch_id=str(batch.batch_id))
        return None

    async def _look_ahead(self, batch: Batch) -> Outlook:
        flows = await self._store.batches.flows(batch.batch_id)
        run_ms = await self._store.outlook.run_ms(batch.batch_id) if batch.finished else None
        parts = await self._parts(batch, flows[:MOST_AT_CREATION], run_ms)
        last = latest_part(parts)
        binding = last.last.binding if last and last.last else None
        now = self._now()
        hold = hold_of(binding, await self._names(batch), now) if binding else None
        end = batch_end(parts, now, run_ms)
        in_time = meets_deadline(batch, end)
        warning = late_in_words(in_time, end, hold)
        shut = (
            hold is not None and hold.dimension == "pause" and (hold.admits_at is None or hold.admits_at > now + STUCK)
        )
        return Outlook(
            end,
            Feasibility(meets_deadline=in_time, binding_limit=hold, warning=warning),
            stuck=f"Waiting. {held_by(hold)}." if shut and hold is not None else None,
        )

    async def _parts(self, batch: Batch, flows: Sequence[StoredFlow], run_ms: float | None) -> list[Part]:
        shard = await self._tenants.shard_of(batch.environment_id)
        return list(await asyncio.gather(*(self._part(shard, flow, run_ms) for flow in flows)))

    async def _part(self, shard: int, flow: StoredFlow, run_ms: float | None) -> Part:
        ref, share = flow_ref(flow), share_of(flow)
        standing = await self._shards.run(shard, lambda: self._engine.explain(shard, ref, 0, share))
        if standing is None:
            return Part(flow, None, None, None)
        return Part(flow, standing, forecast(standing, run_ms), forecast(at_end(standing), run_ms))

    async def _names(self, batch: Batch) -> BudgetNames:
        setup = self._store.setup
        connections = await setup.connections(batch.environment_id)
        resources = await setup.resources(batch.environment_id)
        key = await setup.api_key(batch.environment_id, batch.api_key_id) if batch.api_key_id else None
        return BudgetNames(connections, resources, key)
