"""One part of a batch through its provider's own Batch API: hand it over, follow it, collect its results.

Every step is recorded before the next one, so a crash anywhere leaves a step to be done again, and every step may be:
uploading again leaves a file behind; results are recorded once (the outcomes' own fence). Only asking for a batch must
not happen twice. So it is recorded first that it will be asked for; whoever finds that without an answer looks for the
mark among the provider's batches, and asks again only when it is not there and the question is so old that it cannot be
on its way any more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import IO

import msgspec
import structlog

from scheduler.domain.batch import Batch
from scheduler.domain.handover import Handover, HandoverState
from scheduler.domain.outcome import ItemOutcome
from scheduler.domain.setup import Provider
from scheduler.domain.status import FINAL_BATCH, ItemStatus
from scheduler.domain.work import FlowRef
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.providers.batch_api import TIMEOUT_S, BatchApi, BatchApiRefusal, BatchApiTrouble, RemoteBatch
from scheduler.providers.bodies import build_body
from scheduler.providers.call import Account
from scheduler.providers.error_bodies import storable
from scheduler.services.budgets.limits import flow_ref
from scheduler.services.callers.tenants import Tenants
from scheduler.services.setup.catalog import Catalog, Served
from scheduler.services.shards.access import Shards
from scheduler.services.submissions.native_results import outcome_of

PAGE = 500
FLUSH = 200
"""Outcomes of one flush."""
SETTLED_AFTER = timedelta(seconds=2 * TIMEOUT_S)
"""A question so old is answered, or lost: no provider makes a batch of it later."""
SUPPORTED = frozenset(
    {Provider.OPENAI, Provider.AZURE, Provider.GROQ, Provider.OPENAI_COMPATIBLE},
)
"""Providers whose Batch API is OpenAI's, or Azure's, which differs in its addresses and looks at files first."""

_UNSUPPORTED = "The provider of this model has no Batch API that we know, or its connection cannot be used."
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """A hand-over with what it belongs to."""

    handover: Handover
    batch: Batch
    served: Served
    account: Account


class LeaseLost(Exception):
    """Another works on it now: do nothing more."""


class HandingOver:
    """Moves parts on; of one task at a time, under the lease of `holder`."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        tenants: Tenants,
        shards: Shards,
        catalog: Catalog,
        api: BatchApi,
        holder: str,
        lease_s: float,
        now: Callable[[], datetime],
        settled_after: timedelta = SETTLED_AFTER,
    ) -> None:
        self._store = store
        self._engine = engine
        self._tenants = tenants
        self._shards = shards
        self._catalog = catalog
        self._api = api
        self._holder = holder
        self._lease_s = lease_s
        self._now = now
        self._settled_after = settled_after

    async def advance(self, handover: Handover) -> bool:
        """Move one on as far as it goes now. True: it is done; False: look again later. Raises BatchApiTrouble,
        Unavailable, LeaseLost."""
        batch = await self._store.batches.get(handover.environment_id, handover.batch_id)
        if batch is None:
            await self._finish(handover)
            return True
        part = await self._part(handover, batch)
        if batch.status in FINAL_BATCH:
            await self._stop(handover, part)
            await self._drop_flows(batch)
            await self._finish(handover)
            return True
        if part is None:
            await self._fail_rest(handover, batch, "NATIVE_NOT_SUPPORTED", _UNSUPPORTED)
            await self._end(handover)
            return True
        try:
            remote = await self._handed(part)
        except BatchApiRefusal as refusal:
            await self._fail_rest(handover, batch, "NATIVE_REFUSED", str(refusal))
            await self._end(handover)
            return True
        if remote is None or not remote.ended:
            return False
        await self._collect(part, remote)
        await self._end(handover)
        return True

    async def _part(self, handover: Handover, batch: Batch) -> Part | None:
        await self._catalog.refresh()
        served = self._catalog.resource(handover.resource_id)
        account = None if served is None else self._catalog.account(served.resource.targets[0].connection_id)
        if served is None or account is None or account.provider not in SUPPORTED:
            return None
        return Part(handover, batch, served, account)

    async def _handed(self, part: Part) -> RemoteBatch | None:
        """The provider's batch as it stands; None: not known yet, look again later."""
        handover = part.handover
        if handover.state is HandoverState.PLANNED:
            with tempfile.TemporaryFile() as lines:
                await self._write(part, lines)
                lines.seek(0)
                file_ref = await self._api.upload(part.account, lines)
            handover = await self._record(replace(handover, state=HandoverState.UPLOADED, file_ref=file_ref))
        if handover.state is HandoverState.UPLOADED:
            remote = await self._asked(part, handover)
            if remote is None:
                return None
            await self._record(replace(handover, state=HandoverState.HANDED, batch_ref=remote.ref))
            await self._store.batches.mark_running([handover.batch_id])
            _log.info("batch.handed_over", batch_id=str(handover.batch_id), there=remote.ref)
            return remote
        return await self._api.get(part.account, handover.batch_ref or "")

    async def _asked(self, part: Part, handover: Handover) -> RemoteBatch | None:
        now = self._now()
        if handover.asked_at is not None:
            found = await self._api.find(part.account, handover.mark)
            if found is not None or now - handover.asked_at < self._settled_after:
                return found
        elif not await self._api.is_ready(part.account, handover.file_ref or ""):
            return None
        submission = await self._store.submissions.get(handover.environment_id, handover.batch_id)
        if submission is None:
            raise LeaseLost
        await self._record(replace(handover, asked_at=now))
        return await self._api.create(part.account, handover.file_ref or "", submission.endpoint, handover.mark)

    async def _write(self, part: Part, lines: IO[bytes]) -> None:
        """What the provider is to do: every item that has no outcome, named by its seq."""
        handover, address = part.handover, part.account.address
        model = address.model_of(part.served.resource.targets[0].model)
        cursor = 0
        while True:
            following, entries = await self._store.items.window(
                handover.batch_id, handover.resource_id, after_seq=cursor, limit=PAGE
            )
            items = await self._store.items.items(handover.batch_id, [entry.position for entry in entries])
            for item in items:
                body = msgspec.Raw(build_body(item.request, item.endpoint, model, part.served.default_args))
                url = address.batch_endpoint_of(item.endpoint)
                line = {"custom_id": str(item.seq), "method": "POST", "url": url, "body": body}
                lines.write(msgspec.json.encode(line) + b"\n")
            if following <= cursor:
                return
            cursor = following
            await self._record(handover)

    async def _collect(self, part: Part, remote: RemoteBatch) -> None:
        outcomes: list[ItemOutcome] = []
        for file_ref in (remote.output_file, remote.error_file):
            if file_ref is None:
                continue
            async for line in self._api.lines(part.account, file_ref):
                outcome = outcome_of(
                    line,
                    batch_id=part.handover.batch_id,
                    connection_id=part.account.connection_id,
                    model=part.served.resource.targets[0].model,
                    asked_at=part.handover.asked_at,
                    now=self._now(),
                )
                if outcome is not None:
                    outcomes.append(outcome)
                if len(outcomes) >= FLUSH:
                    await self._flush(part.handover, outcomes)
                    outcomes.clear()
        await self._flush(part.handover, outcomes)
        reason = remote.problem or f"The provider's batch ended as {remote.status} without this request."
        await self._fail_rest(part.handover, part.batch, "NATIVE_NO_RESULT", storable(reason))

    async def _fail_rest(self, handover: Handover, batch: Batch, code: str, reason: str) -> None:
        """Every item of the part that has no outcome fails."""
        cursor = 0
        while True:
            following, entries = await self._store.items.window(
                batch.batch_id, handover.resource_id, after_seq=cursor, limit=FLUSH
            )
            now = self._now()
            outcomes = [
                ItemOutcome(
                    batch_id=batch.batch_id,
                    seq=entry.position,
                    run=entry.run,
                    status=ItemStatus.FAILED,
                    error_code=code,
                    error_message=reason,
                    completed_at=now,
                )
                for entry in entries
            ]
            await self._flush(handover, outcomes)
            if following <= cursor:
                return
            cursor = following

    async def _flush(self, handover: Handover, outcomes: Sequence[ItemOutcome]) -> None:
        """Record outcomes, under the lease; recorded ones are recorded once."""
        if outcomes:
            await self._record(handover)
            await self._store.outcomes.flush(outcomes, wait_for_locks=True)

    async def _record(self, handover: Handover) -> Handover:
        if not await self._store.handovers.record(self._holder, handover, self._lease_s):
            raise LeaseLost
        return handover

    async def _stop(self, handover: Handover, part: Part | None) -> None:
        """The batch is over: what still runs of it at the provider is not wanted any more."""
        if part is None or handover.batch_ref is None:
            return
        try:
            await self._api.cancel(part.account, handover.batch_ref)
        except (BatchApiTrouble, BatchApiRefusal) as problem:
            _log.info("batch.not_cancelled_there", batch_id=str(handover.batch_id), reason=str(problem))

    async def _end(self, handover: Handover) -> None:
        now_ended = await self._store.batches.get(handover.environment_id, handover.batch_id)
        if now_ended is not None and now_ended.status in FINAL_BATCH:
            await self._drop_flows(now_ended)
        await self._finish(handover)
        _log.info("batch.came_back", batch_id=str(handover.batch_id), resource_id=str(handover.resource_id))

    async def _finish(self, handover: Handover) -> None:
        if not await self._store.handovers.finish(self._holder, handover):
            raise LeaseLost

    async def _drop_flows(self, batch: Batch) -> None:
        """What the engine keeps of a batch that never ran there."""
        shard = await self._tenants.shard_of(batch.environment_id)
        for flow in await self._store.batches.flows(batch.batch_id):
            await self._drop(shard, flow_ref(flow), batch.version)

    async def _drop(self, shard: int, flow: FlowRef, version: int) -> None:
        await self._shards.run(shard, lambda: self._engine.cancel(shard, flow, version))
