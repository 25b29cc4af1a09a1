"""The store as bootstrap hands it out."""

from __future__ import annotations

from scheduler.domain.errors import InvariantBroken, Unavailable
from scheduler.store.batch_store import PostgresBatchStore
from scheduler.store.callback_secret_store import PostgresCallbackSecretStore
from scheduler.store.database import Database
from scheduler.store.dead_letter_store import PostgresDeadLetterStore
from scheduler.store.delivery_store import PostgresDeliveryStore
from scheduler.store.file_store import PostgresFileStore
from scheduler.store.handover_store import PostgresHandoverStore
from scheduler.store.item_store import PostgresItemStore
from scheduler.store.migrations import pending
from scheduler.store.outcome_store import PostgresOutcomeStore
from scheduler.store.outlook_store import PostgresOutlookStore
from scheduler.store.parking_store import PostgresParkingStore
from scheduler.store.quota_store import PostgresQuotaStore
from scheduler.store.retention_store import PostgresRetentionStore
from scheduler.store.setup_store import PostgresSetupStore
from scheduler.store.shard_store import PostgresShardStore
from scheduler.store.submission_store import PostgresSubmissionStore
from scheduler.store.upload_store import PostgresUploadStore


class PostgresStore:
    """Implements ports.store.Store over one pool of connections."""

    def __init__(self, database: Database) -> None:
        """Use `open`."""
        self._database = database
        self.setup = PostgresSetupStore(database)
        self.batches = PostgresBatchStore(database)
        self.items = PostgresItemStore(database)
        self.outcomes = PostgresOutcomeStore(database)
        self.deliveries = PostgresDeliveryStore(database)
        self.callback_secrets = PostgresCallbackSecretStore(database)
        self.dead_letters = PostgresDeadLetterStore(database)
        self.uploads = PostgresUploadStore(database)
        self.files = PostgresFileStore(database)
        self.submissions = PostgresSubmissionStore(database)
        self.shards = PostgresShardStore(database)
        self.handovers = PostgresHandoverStore(database)
        self.quotas = PostgresQuotaStore(database)
        self.retention = PostgresRetentionStore(database)
        self.outlook = PostgresOutlookStore(database)
        self.parkings = PostgresParkingStore(database)

    @classmethod
    async def open(cls, dsn: str, *, min_size: int = 1, max_size: int = 10) -> PostgresStore:
        """Connect, trying for up to 30 s (then Unavailable). Does not migrate: see migrations.migrate."""
        return cls(await Database.open(dsn, min_size=min_size, max_size=max_size))

    @property
    def dsn(self) -> str:
        """Where the database is; may hold a password."""
        return self._database.dsn

    async def ready(self) -> bool:
        """Reachable and migrated to exactly this version."""
        try:
            async with self._database.connection() as connection:
                return not await pending(connection)
        except (Unavailable, InvariantBroken):
            return False

    async def close(self) -> None:
        """Close all connections; safe to repeat."""
        await self._database.close()
