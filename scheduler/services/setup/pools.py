"""Create, change and delete the pools of an environment: checked, stored, and carried to the engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from scheduler.domain.errors import Conflict, NotFound
from scheduler.domain.pools import Pool, PoolDefinition
from scheduler.ports.setup import SetupStore
from scheduler.services.callers.tenants import Address, Tenants
from scheduler.services.reading.problems import refuse
from scheduler.services.setup.bodies import Name, Shown
from scheduler.services.setup.effects import SetupEffects
from scheduler.services.setup.forms import resources_named

Share = Annotated[float, Meta(ge=0, le=1)]
Rank = Annotated[int, Meta(ge=1, le=10)]
_ROUNDING = 1e-9


class PoolBody(Struct, rename="camel", forbid_unknown_fields=True):
    """One pool. resources: by id or name. Shares are parts (0 to 1) of a connection's budget per minute."""

    name: Name
    resources: list[Name]
    rank: Rank = 1
    min_share: Share = 0.0
    max_share: Annotated[float, Meta(gt=0, le=1)] = 1.0


class PoolDefinitionBody(Struct, rename="camel", forbid_unknown_fields=True):
    """All pools of an environment."""

    pools: list[PoolBody] | UnsetType = UNSET
    workspace_id: Shown = None
    environment_id: Shown = None
    version: Shown = None
    created_at: Shown = None
    updated_at: Shown = None


class PoolView(Struct, rename="camel", frozen=True):
    """One pool. resources: ids."""

    name: str
    resources: list[UUID]
    rank: int
    min_share: float
    max_share: float


class PoolDefinitionView(Struct, rename="camel", frozen=True):
    """All pools of an environment."""

    workspace_id: UUID
    environment_id: UUID
    pools: list[PoolView]
    version: int
    created_at: datetime
    updated_at: datetime


def pool_definition_view(definition: PoolDefinition) -> PoolDefinitionView:
    """Pools as shown."""
    return PoolDefinitionView(
        definition.workspace_id,
        definition.environment_id,
        [
            PoolView(pool.name, list(pool.resource_ids), pool.rank, pool.min_share, pool.max_share)
            for pool in definition.pools
        ],
        definition.version,
        definition.created_at,
        definition.updated_at,
    )


class Pools:
    """One definition an environment. get, update and delete raise NotFound POOL_DEFINITION_NOT_FOUND where there is
    none; create raises Conflict ALREADY_EXISTS where there is one."""

    def __init__(self, setup: SetupStore, tenants: Tenants, effects: SetupEffects) -> None:
        self._setup = setup
        self._tenants = tenants
        self._effects = effects

    async def get(self, address: Address) -> PoolDefinition:
        """The pools of an environment."""
        found = await self._find(address)
        if found is None:
            raise NotFound("The environment has no pools.", code="POOL_DEFINITION_NOT_FOUND")
        return found

    async def create(self, address: Address, body: PoolDefinitionBody) -> PoolDefinition:
        """The first pools of an environment."""
        if isinstance(body.pools, UnsetType):
            raise refuse("pools", "is required")
        if await self._find(address) is not None:
            raise Conflict("The environment has pools already.", code="ALREADY_EXISTS")
        return await self._put(address, body.pools)

    async def update(self, address: Address, body: PoolDefinitionBody) -> PoolDefinition:
        """Replace the pools."""
        before = await self.get(address)
        return before if isinstance(body.pools, UnsetType) else await self._put(address, body.pools)

    async def delete(self, address: Address) -> None:
        """No pools any more: all resources share alike."""
        await self.get(address)
        await self._effects.pools_changed(await self._setup.put_pools(address.workspace_id, address.environment_id, ()))

    async def put(self, address: Address, body: PoolDefinitionBody) -> tuple[PoolDefinition, str]:
        """What a configuration file asks for; and "created", "updated" or "unchanged"."""
        before = await self._find(address)
        if before is None:
            return await self.create(address, body), "created"
        if isinstance(body.pools, UnsetType) or await self._checked(address, body.pools) == before.pools:
            return before, "unchanged"
        return await self.update(address, body), "updated"

    async def _find(self, address: Address) -> PoolDefinition | None:
        await self._tenants.environment(address.workspace_id, address.environment_id)
        found = await self._setup.pool_definitions(address.environment_id)
        return next((each for each in found if each.pools), None)

    async def _put(self, address: Address, bodies: Sequence[PoolBody]) -> PoolDefinition:
        pools = await self._checked(address, bodies)
        definition = await self._setup.put_pools(address.workspace_id, address.environment_id, pools)
        await self._effects.pools_changed(definition)
        return definition

    async def _checked(self, address: Address, bodies: Sequence[PoolBody]) -> tuple[Pool, ...]:
        """Raises Invalid naming the field, NotFound AI_RESOURCE_NOT_FOUND."""
        if not bodies:
            raise refuse("pools", "must name at least one pool; DELETE removes all")
        pools: list[Pool] = []
        for position, body in enumerate(bodies):
            place = f"pools[{position}]"
            if body.min_share > body.max_share:
                raise refuse(f"{place}.minShare", "must not be above maxShare")
            if any(body.name == other.name for other in pools):
                raise refuse(f"{place}.name", "is another pool's")
            found = await resources_named(self._setup, address, body.resources)
            taken = {each for pool in pools for each in pool.resource_ids}
            if not found or found & taken:
                what = "must name at least one" if not found else "must not name one of another pool"
                raise refuse(f"{place}.resources", what)
            pools.append(Pool(body.name, body.rank, body.min_share, body.max_share, tuple(sorted(found))))
        if sum(pool.min_share for pool in pools) > 1 + _ROUNDING:
            raise refuse("pools", "must not have smallest shares that add up to more than 1")
        return tuple(pools)
