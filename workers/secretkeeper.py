"""The secretkeeper: callback secrets that an older version stored in the clear are sealed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from scheduler.ports.callback_secrets import CallbackSecretStore
from scheduler.ports.shards import ShardStore
from scheduler.services.callers.secrets import Vault

INTERVAL_S = 600.0
AT_ONCE = 500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """sealed: how many secrets were sealed in this turn."""

    sealed: int


class Secretkeeper:
    """Every few minutes, one process at a time: processes of an older version may still run and store more."""

    def __init__(self, secrets: CallbackSecretStore, locks: ShardStore, vault: Vault) -> None:
        self._secrets = secrets
        self._locks = locks
        self._vault = vault

    async def run_once(self) -> Kept:
        """Seal what is found. Raises Unavailable when this process has no key to seal with, and there is something."""
        async with self._locks.exclusive("keep-secrets") as mine:
            sealed = 0
            while mine and (found := await self._secrets.in_the_clear(AT_ONCE)):
                for each in found:
                    if each.callback.secret is None:
                        continue
                    secrets = (*each.callback.sealed_secrets, self._vault.seal(each.callback.secret))
                    closed = replace(each.callback, sealed_secrets=secrets, secret=None)
                    await self._secrets.replace(each.batch_id, closed)
                    sealed += 1
            if sealed:
                _log.info("secrets.sealed", callbacks=sealed)
            return Kept(sealed)
