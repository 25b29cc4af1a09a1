"""Whose a budget is, in the words of those who set it up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from scheduler.domain.setup import ApiKey, Connection, Resource
from scheduler.domain.work import BudgetKind
from scheduler.services.explain.views import Scope

_SCOPES: dict[BudgetKind, Scope] = {
    BudgetKind.CONNECTION: "connection",
    BudgetKind.MODEL: "model",
    BudgetKind.POOL: "pool",
    BudgetKind.RESOURCE: "resource",
    BudgetKind.API_KEY: "api-key",
    BudgetKind.ADDRESS: "api-key",
    BudgetKind.BATCH: "batch",
}
_UUID_CHARS = 36


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a limit is. id: of the object; of a model and of a pool: that of its connection."""

    scope: Scope
    id: str | None = None
    name: str | None = None


class BudgetNames:
    """Names of what one environment has set up."""

    item = Owner("item")
    batch = Owner("batch")

    def __init__(self, connections: Iterable[Connection], resources: Iterable[Resource], key: ApiKey | None) -> None:
        self._connections = {str(each.connection_id): each.name for each in connections}
        self._resources = {each.resource_id: each.name for each in resources}
        self._key = key

    def resource(self, resource_id: UUID) -> str | None:
        """The name of a resource; None when it is gone."""
        return self._resources.get(resource_id)

    def owner(self, budget_id: str) -> Owner:
        """Whose a budget is, by its id ("<kind>-<owner>")."""
        kind, _, rest = budget_id.partition("-")
        try:
            scope = _SCOPES[BudgetKind(kind)]
        except ValueError:
            return Owner("item", budget_id)
        match scope:
            case "connection" | "model" | "pool":
                return Owner(scope, rest[:_UUID_CHARS], self._connections.get(rest[:_UUID_CHARS]))
            case "resource":
                return Owner(scope, rest, {str(key): name for key, name in self._resources.items()}.get(rest))
            case "api-key":
                id_ = rest[:_UUID_CHARS]
                return Owner(scope, id_, self._key.name if self._key and str(self._key.api_key_id) == id_ else None)
            case _:
                return Owner(scope, rest)
