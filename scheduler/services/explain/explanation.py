"""Why does it wait, and until when? Reads the engine, forecasts, and names what binds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from scheduler.domain.batch import Batch, Item
from scheduler.domain.errors import Unavailable
from scheduler.domain.forecast import Bound, Forecast, at_end, forecast
from scheduler.domain.ids import ItemIds
from scheduler.domain.standing import Place, Standing
from scheduler.domain.status import FINAL_BATCH, FINAL_ITEM, ItemStatus
from scheduler.domain.supply import NEVER
from scheduler.ports.engine import Engine
from scheduler.ports.flows import StoredFlow
from scheduler.ports.store import Store
from scheduler.services.budgets.limits import flow_ref
from scheduler.services.callers.tenants import Tenants
from scheduler.services.explain.budget_names import BudgetNames
from scheduler.services.explain.views import (
    BatchExplanation,
    Feasibility,
    ItemExplanation,
    LimitHold,
    Outlook,
    ResourceExplanation,
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


@dataclass(frozen=True, slots=True)
class _Part:
    """A flow as it stands; next / last: the forecasts of its next and its last waiting entry."""

    flow: StoredFlow
    standing: Standing | None
    next: Forecast | None
    last: Forecast | None


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
            shard, share = await self._tenants.shard_of(batch.environment_id), _share_of(flow)
            ref = flow_ref(flow)
            standing = await self._shards.run(shard, lambda: self._engine.explain(shard, ref, item.seq, share))
            found = forecast(standing, run_ms) if standing is not None else None
        now = self._now()
        state = _state_of(item, standing)
        hold = _hold(found.binding, names, now) if found and found.binding else None
        start = _at(now, found.start_ms) if found and state in ("waiting", "deferred") else item.started_at
        end = item.completed_at if state == "finished" else _end_of(start or now, found, run_ms)
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
            limits=[_hold(bound, names, now) for bound in found.limits if _is_limit(bound)] if found else [],
            message=in_words(state, hold, start),
        )

    async def batch(self, batch: Batch) -> BatchExplanation:
        """Why a batch is not done yet. Raises Unavailable when Redis is away."""
        names = await self._names(batch)
        flows = await self._store.batches.flows(batch.batch_id)
        run_ms = await self._store.outlook.run_ms(batch.batch_id)
        parts = await self._parts(batch, flows[:MOST_FLOWS], run_ms)
        now = self._now()
        told = [_resource_explanation(part, names, now, run_ms) for part in parts]
        last = _latest(parts)
        hold = _hold(last.last.binding, names, now) if last and last.last and last.last.binding else None
        starts = [each.earliest_start for each in told if each.earliest_start is not None]
        end = _end_of_all(parts, now, run_ms)
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
            meets_deadline=_in_time(batch, end),
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
        last = _latest(parts)
        binding = last.last.binding if last and last.last else None
        now = self._now()
        hold = _hold(binding, await self._names(batch), now) if binding else None
        end = _end_of_all(parts, now, run_ms)
        in_time = _in_time(batch, end)
        warning = late_in_words(in_time, end, hold)
        shut = (
            hold is not None and hold.dimension == "pause" and (hold.admits_at is None or hold.admits_at > now + STUCK)
        )
        return Outlook(
            end,
            Feasibility(meets_deadline=in_time, binding_limit=hold, warning=warning),
            stuck=f"Waiting. {held_by(hold)}." if shut and hold is not None else None,
        )

    async def _parts(self, batch: Batch, flows: Sequence[StoredFlow], run_ms: float | None) -> list[_Part]:
        shard = await self._tenants.shard_of(batch.environment_id)
        return list(await asyncio.gather(*(self._part(shard, flow, run_ms) for flow in flows)))

    async def _part(self, shard: int, flow: StoredFlow, run_ms: float | None) -> _Part:
        ref, share = flow_ref(flow), _share_of(flow)
        standing = await self._shards.run(shard, lambda: self._engine.explain(shard, ref, 0, share))
        if standing is None:
            return _Part(flow, None, None, None)
        return _Part(flow, standing, forecast(standing, run_ms), forecast(at_end(standing), run_ms))

    async def _names(self, batch: Batch) -> BudgetNames:
        setup = self._store.setup
        connections = await setup.connections(batch.environment_id)
        resources = await setup.resources(batch.environment_id)
        key = await setup.api_key(batch.environment_id, batch.api_key_id) if batch.api_key_id else None
        return BudgetNames(connections, resources, key)


def _share_of(flow: StoredFlow) -> float:
    return flow.items / max(flow.last - flow.first + 1, 1)


def _state_of(item: Item, standing: Standing | None) -> State:
    if item.status in FINAL_ITEM:
        return "finished"
    if standing is None:
        return "opening"
    match standing.place:
        case Place.WAITING:
            return "waiting"
        case Place.DEFERRED:
            return "deferred"
        case Place.RUNNING:
            return "running"
        case Place.ABSENT:
            return "opening"
        case _:
            assert_never(standing.place)


def _at(now: datetime, span_ms: float | None) -> datetime | None:
    """A time from now; None when it is beyond what a calendar holds."""
    if span_ms is None or math.isinf(span_ms):
        return None
    try:
        return now + timedelta(milliseconds=span_ms)
    except OverflowError:
        return None


def _end_of(start: datetime, found: Forecast | None, run_ms: float | None) -> datetime | None:
    if found is None or found.start_ms is None:
        return None
    return start + timedelta(milliseconds=run_ms or 0.0)


def _ends_in_ms(part: _Part, run_ms: float | None) -> float | None:
    """None when it cannot be told; a part of which nothing is left has ended."""
    if part.standing is None or part.last is None:
        return None
    if part.standing.own.left.requests < 1 and not part.standing.leased:
        return 0.0
    return None if part.last.start_ms is None else part.last.start_ms + (run_ms or 0.0)


def _end_of_all(parts: Sequence[_Part], now: datetime, run_ms: float | None) -> datetime | None:
    ends = [_ends_in_ms(part, run_ms) for part in parts]
    known = [end for end in ends if end is not None]
    return _at(now, max(known)) if known and len(known) == len(ends) else None


def _latest(parts: Sequence[_Part]) -> _Part | None:
    """The part that ends last; one that never does by itself before all."""
    seen = [part for part in parts if part.last is not None]
    return max(
        seen,
        key=lambda part: NEVER if part.last is None or part.last.start_ms is None else part.last.start_ms,
        default=None,
    )


def _in_time(batch: Batch, end: datetime | None) -> bool | None:
    if batch.deadline is None or end is None:
        return None
    return end <= batch.deadline


def _resource_explanation(part: _Part, names: BudgetNames, now: datetime, run_ms: float | None) -> ResourceExplanation:
    standing, first, last = part.standing, part.next, part.last
    waits = standing is not None and standing.own.left.requests >= 1
    hold = _hold(last.binding, names, now) if waits and last and last.binding else None
    return ResourceExplanation(
        resource_id=part.flow.resource_id,
        resource=names.resource(part.flow.resource_id),
        waiting=round(standing.own.left.requests) if standing else 0,
        deferred=standing.deferred if standing else 0,
        running=standing.leased if standing else 0,
        binding_limit=hold,
        requests_ahead=round(first.first.requests) if first else 0,
        earliest_start=_at(now, first.start_ms) if waits and first else None,
        expected_end=_at(now, _ends_in_ms(part, run_ms)),
    )


def _is_limit(bound: Bound) -> bool:
    """A budget may be there for the limits that it could get."""
    account = bound.account
    if account is None or not account.known:
        return True
    return bool(account.gauges) or account.max_in_flight is not None or account.paused_ms > 0 or account.recovering


def _hold(bound: Bound, names: BudgetNames, now: datetime) -> LimitHold:
    account, gauge = bound.account, bound.admission.gauge if bound.admission else None
    owner = names.owner(account.budget_id) if account else names.item if bound.is_retry else names.batch
    counted = gauge if gauge is not None and gauge.dimension.value == bound.binding.value else None
    in_flight = account.max_in_flight if account and bound.binding.value == "in-flight" else None
    return LimitHold(
        scope=owner.scope,
        id=owner.id,
        name=owner.name,
        dimension=bound.binding.value,
        period=counted.period if counted else None,
        limit=counted.limit if counted else in_flight,
        used=round(counted.used) if counted else account.in_flight if account and in_flight is not None else None,
        reason=account.pause_reason or None if account and account.paused_ms > 0 else None,
        admits_at=_at(now, bound.at_ms),
    )
