"""Resources as one batch may use them: who may, and how large an item can be that their limits ever admit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from scheduler.domain.capacity import Capacity, Period, largest_item_tokens
from scheduler.domain.pools import Pool, PoolDefinition
from scheduler.domain.setup import ApiKey, Connection, Resource
from scheduler.providers.profile import OutputReserve, TokenMeter
from scheduler.providers.profiles import profile_of


@dataclass(frozen=True, slots=True)
class TargetTerms:
    """What one target admits at most. tokens: None: anything. of_input: its limits count the input only."""

    tokens: int | None = None
    of_input: bool = False

    def most_tokens(self, in_tokens: int) -> int | None:
        """The largest item with so much input."""
        return None if self.tokens is None or (self.of_input and in_tokens <= self.tokens) else self.tokens


@dataclass(frozen=True, slots=True)
class ResourceTerms:
    """A resource as one batch may use it. own_tokens: the largest item that limits of the batch, its key and the
    resource admit; None: any. by_use: all targets charge the output that they generate."""

    resource: Resource
    allowed: bool
    own_tokens: int | None = None
    targets: tuple[TargetTerms, ...] = ()
    by_use: bool = False

    def most_tokens(self, in_tokens: int) -> int | None:
        """The largest item with so much input that its limits can ever admit; None: any. One target that admits it is
        enough."""
        by_targets: int | None = None
        for target in self.targets:
            through = target.most_tokens(in_tokens)
            if through is None:
                return self.own_tokens
            by_targets = through if by_targets is None else max(by_targets, through)
        if by_targets is None or self.own_tokens is None:
            return self.own_tokens if by_targets is None else by_targets
        return min(self.own_tokens, by_targets)


def terms_of(
    resources: Iterable[Resource],
    connections: Iterable[Connection],
    key: ApiKey | None,
    batch_capacity: Iterable[Capacity],
    pools: PoolDefinition | None = None,
) -> dict[str, ResourceTerms]:
    """The resources of an environment by id and by name (an id goes before a name that looks like one)."""
    by_connection = {each.connection_id: each for each in connections}
    by_use = {c.connection_id for c in by_connection.values() if profile_of(c).output_reserve is OutputReserve.LIKELY}
    shared = [largest_item_tokens(batch_capacity), largest_item_tokens(key.capacity) if key else None]
    terms: dict[str, ResourceTerms] = {}
    by_id: dict[str, ResourceTerms] = {}
    for resource in resources:
        through = [target.connection_id for target in resource.targets]
        pool = pools.pool_of(resource.resource_id) if pools else None
        own = largest_item_tokens(resource.capacity) if resource.enforce_capacity else None
        each = ResourceTerms(
            resource,
            allowed=key is None or key.resources is None or resource.resource_id in key.resources,
            own_tokens=min((limit for limit in (*shared, own) if limit is not None), default=None),
            targets=tuple(_target_terms(by_connection.get(connection_id), pool) for connection_id in through),
            by_use=all(connection_id in by_use for connection_id in through),
        )
        terms[resource.name] = each
        by_id[str(resource.resource_id)] = each
    return {**terms, **by_id}


def _target_terms(connection: Connection | None, pool: Pool | None) -> TargetTerms:
    if connection is None:
        return TargetTerms()
    limits = [largest_item_tokens(connection.capacity)]
    if pool is not None:
        # As services.budgets.pool_limits gives it its part.
        minute = largest_item_tokens(each for each in connection.capacity if each.period is Period.MINUTE)
        limits.append(None if minute is None else max(1, ceil(minute * pool.max_share)))
    return TargetTerms(
        min((limit for limit in limits if limit is not None), default=None),
        profile_of(connection).token_meter is TokenMeter.INPUT,
    )
