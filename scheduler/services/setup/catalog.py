"""Connections and resources as the workers use them: read again when they changed, keys decrypted once per
version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import structlog

from scheduler.domain.errors import BrimError, Unavailable
from scheduler.domain.setup import Connection, Resource
from scheduler.ports.setup import SetupStore
from scheduler.providers.addresses import address_of, headers_of
from scheduler.providers.bodies import encode_args
from scheduler.providers.call import Account
from scheduler.providers.profiles import profile_of
from scheduler.services.callers.secrets import Vault

CHECK_S = 0.05
"""A change is seen within this time, while Postgres answers: who changes a connection and then retries a batch means
the new one. A look costs a process a tenth of a millisecond, however much is set up."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """A resource with what every call on it needs: its defaults as JSON bytes by name."""

    resource: Resource
    default_args: Mapping[str, bytes]


class Catalog:
    """Everything that was set up; read again by two queries when it is asked for and has changed.

    clock: monotonic seconds. Not for authorisation: a change is seen a moment late.
    """

    def __init__(self, store: SetupStore, vault: Vault, clock: Callable[[], float]) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._checked_at = float("-inf")
        self._looked_at = float("-inf")
        self._stamp: str | None = None
        self._reading = asyncio.Lock()
        self._resources: dict[UUID, Served] = {}
        self._accounts: dict[UUID, Account] = {}
        self._versions: dict[UUID, int] = {}

    def resource(self, resource_id: UUID) -> Served | None:
        """A resource as of the last refresh."""
        return self._resources.get(resource_id)

    def account(self, connection_id: UUID) -> Account | None:
        """A connection ready for calls; None when it does not exist or its secrets cannot be opened."""
        return self._accounts.get(connection_id)

    async def refresh(self, *, max_age_s: float = CHECK_S) -> None:
        """Read again what changed, unless somebody looked within max_age_s. Many callers at once cost two looks,
        however long one takes: that under way may have begun before they came.

        While Postgres is away the last state is kept. Raises Unavailable only when there never was one.
        """
        came_at = self._clock()
        if came_at - self._checked_at <= max_age_s:
            return
        async with self._reading:
            if self._looked_at >= came_at and self._stamp is not None:
                return
            asked_at = self._looked_at = self._clock()
            try:
                # Before the rest, so that what changes meanwhile is seen by the next look.
                stamp = await self._store.offers_stamp()
                if stamp != self._stamp:
                    await self._read()
                    self._stamp = stamp
            except Unavailable:
                if self._stamp is None:
                    raise
                _log.warning("catalog.refresh_failed")
                return
            self._checked_at = asked_at

    async def _read(self) -> None:
        connections, resources = await asyncio.gather(self._store.connections(), self._store.resources())
        self._take_connections({c.connection_id: c for c in connections})
        self._take_resources({r.resource_id: r for r in resources})

    def _take_connections(self, connections: Mapping[UUID, Connection]) -> None:
        for gone in self._versions.keys() - connections.keys():
            self._versions.pop(gone)
            self._accounts.pop(gone, None)
        for connection_id, connection in connections.items():
            if self._versions.get(connection_id) == connection.version:
                continue
            self._versions[connection_id] = connection.version
            account = self._account_of(connection)
            if account is None:
                self._accounts.pop(connection_id, None)
            else:
                self._accounts[connection_id] = account

    def _take_resources(self, resources: Mapping[UUID, Resource]) -> None:
        known = self._resources
        self._resources = {
            resource_id: known[resource_id]
            if resource_id in known and known[resource_id].resource.version == resource.version
            else Served(resource, encode_args(resource.default_args))
            for resource_id, resource in resources.items()
        }

    def _account_of(self, connection: Connection) -> Account | None:
        try:
            sealed = connection.secret_config.get("apiKey")
            api_key = self._vault.open(sealed) if sealed is not None else None
            return Account(
                connection_id=connection.connection_id,
                name=connection.name,
                provider=connection.provider,
                address=address_of(connection.provider, connection.config),
                headers=headers_of(connection.provider, connection.config, api_key),
                profile=profile_of(connection),
            )
        except BrimError as problem:
            _log.error(
                "catalog.connection_unusable",
                connection_id=str(connection.connection_id),
                reason=problem.message,
            )
            return None
