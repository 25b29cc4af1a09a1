"""What administrators set up, in one store."""

from __future__ import annotations

from scheduler.store.key_store import KeyStore
from scheduler.store.learned_limit_store import PostgresLearnedLimits
from scheduler.store.learned_store import LearnedOutputStore
from scheduler.store.offer_store import OfferStore
from scheduler.store.pool_store import PostgresPools
from scheduler.store.tenant_store import TenantStore


class PostgresSetupStore(TenantStore, OfferStore, KeyStore, LearnedOutputStore, PostgresLearnedLimits, PostgresPools):
    """Implements ports.setup.SetupStore."""
