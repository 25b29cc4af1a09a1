"""The reconciler: what Postgres says must be so in the engine. One process at a time, by advisory lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from scheduler.domain.batch import Batch
from scheduler.domain.errors import Unavailable
from scheduler.domain.work import Doorbell, FlowRef, FlowState
from scheduler.ports.engine import Engine, EpochLost
from scheduler.ports.flows import StoredFlow
from scheduler.ports.store import Store
from scheduler.services.batches.control_state import tell_control_state
from scheduler.services.budgets.lasting import set_lasting_limits
from scheduler.services.budgets.limits import flow_ref
from scheduler.services.shards.recovery import Recovery

YOUNG = timedelta(seconds=3)
"""A batch is left alone for so long: whoever created it is opening it now."""
KEEP_BUDGETS = timedelta(hours=1)
"""Between two times that the budgets of live batches are kept from expiring, which takes a day."""
FIRST_VERSION = 1
"""Of a batch that was not changed."""
EARLIEST = datetime.min.replace(tzinfo=UTC)
SHARDS_A_TURN = 4
"""Shards whose epoch is checked in one turn, in turn: an idle worker's cost does not grow with the shards."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One turn. held: this process had the lock. What was put right: flows built anew, told a change of their batch,
    ended."""

    held: bool
    looked_at: int = 0
    repaired: int = 0
    told: int = 0
    ended: int = 0


class Reconciler:
    """Compares unfinished flows with the engine's. utc_now: wall time, for the age of batches."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        recovery: Recovery,
        live_shards: Callable[[], Sequence[int]],
        utc_now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._engine = engine
        self._recovery = recovery
        self._live_shards = live_shards
        self._utc_now = utc_now
        self._turn = 0
        self._budgets_due: dict[int, datetime] = {}
        self._dry: set[FlowRef] = set()
        self._behind: dict[FlowRef, int] = {}
        self._behind_before: dict[FlowRef, int] = {}
        self._versions: dict[UUID, int] = {}
        self._versions_before: dict[UUID, int] = {}

    async def run_once(self) -> Reconciled:
        """One look at all live shards, if no other process takes it."""
        async with self._store.shards.exclusive("reconcile") as mine:
            if not mine:
                self._dry.clear()
                return Reconciled(held=False)
            return await self._look()

    async def _look(self) -> Reconciled:
        live = self._live_shards()
        turn = [live[(self._turn + i) % len(live)] for i in range(min(SHARDS_A_TURN, len(live)))]
        self._turn += len(turn)
        if turn:
            await self._check_epochs(turn)
        totals = Reconciled(held=True)
        dry_before, self._dry = self._dry, set()
        self._behind_before, self._behind = self._behind, {}
        self._versions_before, self._versions = self._versions, {}
        for shard in live:
            try:
                found = await self._look_at(shard, dry_before)
            except EpochLost:
                await self._recovery.ensure(shard)
                continue
            totals = Reconciled(
                True,
                totals.looked_at + found.looked_at,
                totals.repaired + found.repaired,
                totals.told + found.told,
                totals.ended + found.ended,
            )
        if totals.repaired or totals.told or totals.ended:
            _log.info(
                "engine.reconciled",
                looked_at=totals.looked_at,
                repaired=totals.repaired,
                told=totals.told,
                ended=totals.ended,
            )
        return totals

    async def _check_epochs(self, turn: Sequence[int]) -> None:
        """A restart of Redis that nobody ran into is noticed here; definitions that never arrived are
        sent again."""
        for shard in turn:
            identity = await self._engine.identity(shard)
            epoch, opened_with = await self._store.shards.epoch(shard)
            if opened_with != identity or await self._engine.epoch_of(shard) != epoch:
                await self._recovery.ensure(shard)
        try:
            await self._recovery.apply_setup(turn[0])
        except EpochLost:
            await self._recovery.ensure(turn[0])
        except Unavailable as problem:
            _log.warning("setup.effect_postponed", shard=turn[0], reason=problem.message)

    async def _look_at(self, shard: int, dry_before: set[FlowRef]) -> Reconciled:
        looked_at = repaired = told = ended = 0
        keep_budgets = self._utc_now() >= self._budgets_due.get(shard, EARLIEST)
        async for page, batches in self._recovery.unfinished(shard):
            if not await self._keep_budgets(shard, batches, due=keep_budgets):
                keep_budgets = False
            refs = {flow_ref(flow): flow for flow in page}
            states = await self._engine.flows(shard, list(refs))
            looked_at += len(page)
            told += await self._tell(shard, refs, states, batches)
            repaired += await self._open_unknown(shard, refs, states, batches)
            for ref, state in states.items():
                flow = refs[ref]
                batch = batches.get(flow.batch_id)
                if batch is None:
                    continue
                if state.dead:
                    repaired += await self._reopen(shard, flow, batch)
                    continue
                if state.end < flow.last:
                    # An early upload stored more; whoever did tells the engine now, unless it died.
                    self._behind[ref] = state.end
                    if self._behind_before.get(ref) == state.end:
                        repaired += int(await self._recovery.repair(shard, batch, flow))
                elif _is_dry(state):
                    self._dry.add(ref)
                    if ref in dry_before:
                        fixed, closed = await self._revive(shard, ref, flow, batch)
                        repaired += fixed
                        ended += closed
        self._kept_budgets(shard, done=keep_budgets)
        return Reconciled(True, looked_at, repaired, told, ended)

    async def _tell(
        self,
        shard: int,
        refs: Mapping[FlowRef, StoredFlow],
        states: Mapping[FlowRef, FlowState],
        batches: Mapping[UUID, Batch],
    ) -> int:
        """Batches were changed, and whoever changed them died before it told the engine, or is about to. Answers how
        many flows were told. What is refused is told next time: a Redis without memory takes pauses, but no limits."""
        behind: dict[UUID, list[StoredFlow]] = {}
        for ref, state in states.items():
            flow = refs[ref]
            batch = batches.get(flow.batch_id)
            if batch is not None and not state.dead and state.version < batch.version:
                behind.setdefault(batch.batch_id, []).append(flow)
        told = 0
        for batch_id, flows in behind.items():
            try:
                await tell_control_state(self._store, self._engine, shard, batches[batch_id], flows)
            except EpochLost:
                raise
            except Unavailable as problem:
                _log.warning("batch.change_postponed", batch_id=str(batch_id), reason=problem.message)
                continue
            told += len(flows)
        return told

    async def _reopen(self, shard: int, flow: StoredFlow, batch: Batch) -> int:
        """It was reopened by a retry whose process died before it told the engine; a flow that died of a later cancel
        has a newer version and stays dead. What is overdue was made dead to end."""
        if batch.deadline is not None and batch.deadline <= self._utc_now():
            return 0
        return await self._open(shard, [(flow, batch)])

    def _kept_budgets(self, shard: int, *, done: bool) -> None:
        if done:
            self._budgets_due[shard] = self._utc_now() + KEEP_BUDGETS

    async def _keep_budgets(self, shard: int, batches: Mapping[UUID, Batch], *, due: bool) -> bool:
        """The engine forgets a batch's budget a day after the first of its flows ended, and its caller's when it is not
        used; the others still need them. What changed of them since takes effect.

        Those of a changed batch also between: its flows may have the new version from a refill, which brings no limits.
        False when the engine refused them: they are told next time.
        """
        changed = {batch_id: batch.version for batch_id, batch in batches.items() if batch.version > FIRST_VERSION}
        news = [batches[batch] for batch, version in changed.items() if version != self._versions_before.get(batch)]
        budgets = await self._recovery.budgets_of(batches.values() if due else news)
        try:
            if budgets:
                await self._engine.set_limits(shard, budgets)
        except EpochLost:
            raise
        except Unavailable as problem:
            _log.warning("batch.limits_postponed", shard=shard, reason=problem.message)
            return False
        self._versions |= changed
        return True

    async def _open_unknown(
        self,
        shard: int,
        refs: Mapping[FlowRef, StoredFlow],
        states: Mapping[FlowRef, FlowState],
        batches: Mapping[UUID, Batch],
    ) -> int:
        """Flows that the engine has never heard of, or has lost: with all that binds them, then
        themselves."""
        old_enough = self._utc_now() - YOUNG
        unknown = [
            (flow, batches[flow.batch_id])
            for ref, flow in refs.items()
            if ref not in states and flow.batch_id in batches
        ]
        return await self._open(shard, [(flow, batch) for flow, batch in unknown if batch.created_at <= old_enough])

    async def _open(self, shard: int, unknown: Sequence[tuple[StoredFlow, Batch]]) -> int:
        if not unknown:
            return 0
        await self._recovery.apply_setup(shard)
        budgets = await self._recovery.budgets_of({batch.batch_id: batch for _, batch in unknown}.values())
        await set_lasting_limits(self._store.quotas, self._engine, shard, budgets)
        return sum([await self._recovery.repair(shard, batch, flow) for flow, batch in unknown])

    async def _revive(self, shard: int, ref: FlowRef, flow: StoredFlow, batch: Batch) -> tuple[int, int]:
        """A flow that stayed empty although its batch is open: what it lacks is brought back, or the
        batch ends."""
        if await self._store.items.lowest_unfinished(flow.batch_id, flow.resource_id) is not None:
            return int(await self._recovery.repair(shard, batch, flow)), 0
        ended = await self._store.batches.end_full([flow.batch_id])
        if batch.sealed:
            # It was done before its batch was sealed, so nothing made the engine forget it.
            await self._engine.cancel(shard, ref, batch.version)
        for closed in await self._store.shards.batches(list(ended)):
            await self._engine.ring(shard, [Doorbell(ref.queue, str(closed.batch_id), closed.last_event)])
        return 0, len(ended)


def _is_dry(state: FlowState) -> bool:
    """Nothing waits, nothing runs, nothing is left to bring: an open batch must not be like this for long."""
    if state.dead or state.cursor < state.end:
        return False
    return state.waiting == 0 and state.deferred == 0 and state.leased == 0
