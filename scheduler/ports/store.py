"""The store as its callers see it. Every method is one statement or one short transaction.

Connection trouble, a restart and a read-only Postgres raise errors.Unavailable; nothing else of asyncpg escapes.
"""

from __future__ import annotations

from typing import Protocol

from scheduler.ports.batches import BatchStore
from scheduler.ports.callback_secrets import CallbackSecretStore
from scheduler.ports.dead_letters import DeadLetterStore
from scheduler.ports.deliveries import DeliveryStore
from scheduler.ports.files import FileStore
from scheduler.ports.handovers import HandoverStore
from scheduler.ports.items import ItemStore
from scheduler.ports.outcomes import OutcomeStore
from scheduler.ports.outlook import OutlookStore
from scheduler.ports.parkings import ParkingStore
from scheduler.ports.quotas import QuotaStore
from scheduler.ports.retention import RetentionStore
from scheduler.ports.setup import SetupStore
from scheduler.ports.shards import ShardStore
from scheduler.ports.submissions import SubmissionStore
from scheduler.ports.uploads import UploadStore


class Store(Protocol):
    """Everything, as bootstrap hands it out."""

    @property
    def setup(self) -> SetupStore: ...
    @property
    def batches(self) -> BatchStore: ...
    @property
    def items(self) -> ItemStore: ...
    @property
    def outcomes(self) -> OutcomeStore: ...
    @property
    def deliveries(self) -> DeliveryStore: ...
    @property
    def callback_secrets(self) -> CallbackSecretStore: ...
    @property
    def dead_letters(self) -> DeadLetterStore: ...
    @property
    def shards(self) -> ShardStore: ...
    @property
    def quotas(self) -> QuotaStore: ...
    @property
    def retention(self) -> RetentionStore: ...
    @property
    def uploads(self) -> UploadStore: ...
    @property
    def submissions(self) -> SubmissionStore: ...
    @property
    def handovers(self) -> HandoverStore: ...
    @property
    def files(self) -> FileStore: ...
    @property
    def outlook(self) -> OutlookStore: ...
    @property
    def parkings(self) -> ParkingStore: ...

    async def ready(self) -> bool:
        """Reachable and migrated to exactly this version."""
        ...

    async def close(self) -> None: ...
