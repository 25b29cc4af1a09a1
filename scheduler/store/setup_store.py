"""What administrators set up, in one store."""

from __future__ import annotations

from scheduler.store.key_store import PostgresKeyStore
from scheduler.store.learned_limit_store import PostgresLearnedLimitStore
from scheduler.store.learned_output_store import PostgresLearnedOutputStore
from scheduler.store.offer_store import PostgresOfferStore
from scheduler.store.pool_store import PostgresPoolStore
from scheduler.store.tenant_store import PostgresTenantStore


class PostgresSetupStore(
    PostgresTenantStore,
    PostgresOfferStore,
    PostgresKeyStore,
    PostgresLearnedOutputStore,
    PostgresLearnedLimitStore,
    PostgresPoolStore,
):
    """Implements ports.setup.SetupStore."""
