"""Open a stored batch in the engine: what binds it, its queues, and the first window of each of its flows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog

from scheduler.domain.batch import Batch, NewItem
from scheduler.domain.errors import Unavailable
from scheduler.domain.setup import ApiKey, Connection, Resource
from scheduler.domain.work import BudgetDefinition, Entry
from scheduler.ports.engine import Engine
from scheduler.ports.flows import StoredFlow
from scheduler.ports.store import Store
from scheduler.services.budgets.lasting import set_lasting_limits
from scheduler.services.budgets.limits import (
    batch_budgets,
    connection_budget,
    flow_definition,
    resource_budget,
)
from scheduler.services.budgets.model_limits import model_budgets
from scheduler.services.budgets.pool_limits import pool_budgets, pooled_queue
from scheduler.services.callers.tenants import Tenants
from scheduler.services.shards.access import Shards
from scheduler.services.shards.refill import CHUNK, Refill
from scheduler.settings import Settings

_log = structlog.get_logger(__name__)


def first_windows(items: Sequence[NewItem], window_entries: int) -> dict[UUID, list[Entry]]:
    """The first entries of each resource's flow, at most `window_entries` each; the refill brings the
    others."""
    windows: dict[UUID, list[Entry]] = {}
    for position, item in enumerate(items, start=1):
        window = windows.get(item.resource_id)
        if window is None:
            window = windows[item.resource_id] = []
        if len(window) < window_entries:
            window.append(Entry(position, 1, item.in_tokens, item.out_tokens))
    return windows


class Opening:
    """Opens batches. Repeating it is harmless: every step is fenced by versions, generations and cursors."""

    def __init__(self, settings: Settings, store: Store, engine: Engine, tenants: Tenants, shards: Shards) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._tenants = tenants
        self._shards = shards
        self._refill = Refill(store, engine)

    async def open_batch(
        self,
        batch: Batch,
        flows: Sequence[StoredFlow],
        windows: Mapping[UUID, Sequence[Entry]] | None = None,
        *,
        key: ApiKey | None = None,
    ) -> bool:
        """Make a new batch claimable. windows: the first entries of each flow, read from the store when
        not given; key: the one that made the batch, likewise.

        False when Redis is away or recovers: the batch is stored, and the reconciler opens it.
        """
        try:
            shard = await self._tenants.shard_of(batch.environment_id)
            await self._shards.run(shard, lambda: self._open(shard, batch, flows, windows, key))
        except Unavailable as error:
            _log.warning("batch.opening_postponed", batch_id=str(batch.batch_id), reason=error.message)
            return False
        return True

    async def _open(
        self,
        shard: int,
        batch: Batch,
        flows: Sequence[StoredFlow],
        windows: Mapping[UUID, Sequence[Entry]] | None,
        key: ApiKey | None,
    ) -> None:
        key = await self.bind(shard, batch, flows, key)
        for flow in flows:
            definition = flow_definition(batch, flow, key)
            if windows is None:
                await self._refill.fill(shard, definition, flow.generation, 0, self._settings.window_entries)
                continue
            cursor = 0
            window = windows.get(flow.resource_id, ())
            for start in range(0, len(window), CHUNK):
                entries = window[start : start + CHUNK]
                following = entries[-1].position
                if not await self._engine.push(shard, definition, flow.generation, cursor, following, entries):
                    break
                cursor = following

    async def bind(
        self, shard: int, batch: Batch, flows: Sequence[StoredFlow], key: ApiKey | None = None
    ) -> ApiKey | None:
        """Tell the engine all that binds a batch: budgets and queues. Answers the key that made it."""
        if key is None and batch.api_key_id is not None:
            key = await self._store.setup.api_key(batch.environment_id, batch.api_key_id)
        used = {flow.resource_id for flow in flows}
        resources = [
            resource
            for resource in await self._store.setup.resources(batch.environment_id)
            if resource.resource_id in used
        ]
        through = {target.connection_id for resource in resources for target in resource.targets}
        connections = [
            connection
            for connection in await self._store.setup.connections(batch.environment_id)
            if connection.connection_id in through
        ]
        # What was learned is in the engine already; without limits to learn, calls begin few at a time.
        first = model_budgets(resources, connections, ())
        pools = next(iter(await self._store.setup.pool_definitions(batch.environment_id)), None)
        parts = pool_budgets(pools, resources, connections)
        budgets = [*budgets_of(batch, key, resources, connections), *first, *parts]
        await set_lasting_limits(self._store.quotas, self._engine, shard, budgets)
        await self._engine.set_queues(shard, [pooled_queue(resource, pools) for resource in resources])
        return key


def budgets_of(
    batch: Batch, key: ApiKey | None, resources: Sequence[Resource], connections: Sequence[Connection]
) -> list[BudgetDefinition]:
    """All budgets that bind a batch, as far as they exist."""
    own = [budget for budget in map(resource_budget, resources) if budget is not None]
    return [*map(connection_budget, connections), *batch_budgets(batch, key), *own]
