"""The store as its callers see it. Every method is one statement or one short transaction.

Connection trouble, a restart and a read-only Postgres raise errors.Unavailable; nothing else of asyncpg escapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from scheduler.domain.batch import Batch, BatchChange, Endpoint, Event, Item, NewBatch, NewItem
from scheduler.domain.outcome import ItemOutcome, Recorded
from scheduler.domain.setup import ApiKey, Connection, Environment, Resource, Workspace
from scheduler.domain.status import BatchStatus
from scheduler.domain.work import Entry
from scheduler.ports.callback_secrets import CallbackSecretStore
from scheduler.ports.dead_letters import DeadLetterStore
from scheduler.ports.deliveries import DeliveryStore
from scheduler.ports.files import FileStore
from scheduler.ports.flows import StoredFlow as StoredFlow
from scheduler.ports.handovers import HandoverStore
from scheduler.ports.learned import LearnedLimitStore, LearnedStore
from scheduler.ports.outlook import OutlookStore
from scheduler.ports.pages import Page
from scheduler.ports.parkings import ParkingStore
from scheduler.ports.pools import PoolStore
from scheduler.ports.quotas import QuotaStore
from scheduler.ports.retention import RetentionStore
from scheduler.ports.submissions import SubmissionStore
from scheduler.ports.uploads import UploadStore


@dataclass(frozen=True, slots=True)
class LoadedItem:
    """What a dispatcher needs of a claimed entry. finished: this run has an outcome already, or the run is not the
    current one: settle without a call. batch_status CANCELLED: do not send. out_tokens: the reserve for its answer that
    it was accepted with. max_retries: the batch's, in place of the resource's."""

    batch_id: UUID
    seq: int
    run: int
    current_run: int
    finished: bool
    batch_status: BatchStatus
    deadline: datetime | None
    wants_item_callbacks: bool
    resource_id: UUID
    endpoint: Endpoint
    request: bytes
    out_tokens: int
    max_retries: int | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Answer of a load. epoch: of the shard, leases of an older one are dropped unsent. database_now: Postgres' clock
    when the statement ran."""

    epoch: int
    database_now: datetime
    items: dict[tuple[UUID, int], LoadedItem]


@dataclass(frozen=True, slots=True)
class FlushedBatch:
    """A batch that a flush touched. ended: it is final now."""

    batch_id: UUID
    environment_id: UUID
    workspace_id: UUID
    last_event: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Flushed:
    """`recorded[i]` tells what became of outcome i. Deliveries written are counted for the sender's wake-up."""

    recorded: tuple[Recorded, ...]
    batches: tuple[FlushedBatch, ...]
    deliveries: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """Answer of an idempotency check. batch_id is the earlier batch when `replay`."""

    replay: bool
    batch_id: UUID


class SetupStore(LearnedStore, LearnedLimitStore, PoolStore, Protocol):
    """Workspaces, environments, connections, resources, keys. Names are unique within their parent (409
    ALREADY_EXISTS). Deleting what others refer to raises Conflict INVALID_STATE naming what does."""

    async def workspaces(self) -> Sequence[Workspace]: ...
    async def workspace(self, workspace_id: UUID) -> Workspace | None: ...
    async def put_workspace(self, workspace_id: UUID, name: str, *, create: bool) -> Workspace: ...
    async def delete_workspace(self, workspace_id: UUID) -> bool: ...
    async def environments(self, workspace_id: UUID | None = None) -> Sequence[Environment]: ...
    async def environment(self, environment_id: UUID) -> Environment | None: ...
    async def put_environment(
        self, workspace_id: UUID, environment_id: UUID, name: str, *, create: bool
    ) -> Environment: ...
    async def delete_environment(self, environment_id: UUID) -> bool: ...
    async def offers_stamp(self) -> str:
        """Another text when a connection or resource of any environment was made, changed or deleted."""
        ...

    async def connections(self, environment_id: UUID | None = None) -> Sequence[Connection]: ...
    async def connection(self, environment_id: UUID, connection_id: UUID) -> Connection | None: ...
    async def put_connection(self, connection: Connection, *, create: bool) -> Connection:
        """Store it; version and times are set by the store (version + 1 on update)."""
        ...

    async def delete_connection(self, environment_id: UUID, connection_id: UUID) -> bool: ...
    async def resources(self, environment_id: UUID | None = None) -> Sequence[Resource]: ...
    async def resource(self, environment_id: UUID, resource_id: UUID) -> Resource | None: ...
    async def put_resource(self, resource: Resource, *, create: bool) -> Resource: ...
    async def delete_resource(self, environment_id: UUID, resource_id: UUID) -> bool: ...
    async def api_keys(self, environment_id: UUID | None = None) -> Sequence[ApiKey]: ...
    async def api_key(self, environment_id: UUID, api_key_id: UUID) -> ApiKey | None: ...
    async def live_callers(self, shard: int, api_key_id: UUID) -> Sequence[str]:
        """From where the open batches of a key on a shard came, each once; "" where that was not noted."""
        ...

    async def api_key_by_hash(self, key_hash: bytes) -> ApiKey | None:
        """Find a key by the SHA-256 of its text (unique index; the text itself is stored nowhere)."""
        ...

    async def put_api_key(self, key: ApiKey, key_hash: bytes | None, *, create: bool) -> ApiKey:
        """key_hash None on update keeps the secret."""
        ...

    async def delete_api_key(self, environment_id: UUID, api_key_id: UUID) -> bool: ...


class BatchStore(Protocol):
    """Batches, their creation and their control."""

    async def reserve_idempotency(
        self, environment_id: UUID, key: str, body_hash: bytes, batch_id: UUID
    ) -> Reservation:
        """Claim an Idempotency-Key for `batch_id` for 24 h. Conflict IDEMPOTENCY_CONFLICT for another body,
        IN_PROGRESS while the first creation has not finished (a reservation without batch older than 30 s is
        taken over: whoever made it died, or lost Postgres)."""
        ...

    async def release_idempotency(self, environment_id: UUID, key: str, batch_id: UUID) -> None:
        """Give the key back after a creation that failed."""
        ...

    async def create(
        self, batch: NewBatch, items: Sequence[NewItem], *, idempotency_key: str | None = None
    ) -> tuple[Batch, Sequence[StoredFlow]]:
        """Store a whole batch in one transaction: batch row (sealed, stored = its items), items by COPY in chunks with
        seq 1…n in order, its flows, event 1 `batch-created` with its snapshot. Nothing is visible before the end.
        idempotency_key: reserved for it; Conflict IN_PROGRESS when it was taken over meanwhile, with nothing stored."""
        ...

    async def get(self, environment_id: UUID, batch_id: UUID) -> Batch | None: ...
    async def list(
        self, environment_id: UUID, *, limit: int, after: UUID | None, status: BatchStatus | None
    ) -> Page[Batch]:
        """Newest first by batch id (UUIDv7); `after` is the last id of the page before."""
        ...

    async def flows(self, batch_id: UUID) -> Sequence[StoredFlow]: ...
    async def cancel(self, environment_id: UUID, batch_id: UUID) -> Batch | None:
        """Status CANCELLED and version + 1 unless final (then unchanged); None if it does not exist. The end
        event is written later, when every item has an outcome (or now, if all have)."""
        ...

    async def end_full(self, batch_ids: Sequence[UUID]) -> Sequence[UUID]:
        """End those that are sealed, not ended, and whose items all have outcomes (the flush does so itself; this is
        for the reconciler). Answers the ended ones: ring their doorbells."""
        ...

    async def retry(
        self,
        environment_id: UUID,
        batch_id: UUID,
        seqs: Sequence[int] | None = None,
        *,
        error_code: str | None = None,
        resource_id: UUID | None = None,
    ) -> tuple[Batch, int] | None:
        """Run the failed items (of `seqs`, with that code, of that resource, or all) of an ended batch again: their
        runs and the version rise, old outcomes stay as history, event numbers go on. (batch, how many); unchanged when
        none of them failed; None if it does not exist. Conflict INVALID_STATE before its end."""
        ...

    async def set_paused(self, environment_id: UUID, batch_id: UUID, paused: bool) -> Batch | None:
        """version + 1 when it changed. Conflict INVALID_STATE on a final batch."""
        ...

    async def change(self, environment_id: UUID, batch_id: UUID, change: BatchChange) -> Batch | None:
        """Change a live batch, version + 1. Conflict INVALID_STATE on a final one; None if it does not exist."""
        ...

    async def mark_running(self, batch_ids: Sequence[UUID]) -> None:
        """PENDING → RUNNING; others unchanged."""
        ...


class ItemStore(Protocol):
    """Items and their outcomes, read in bulk."""

    async def item(self, environment_id: UUID, batch_id: UUID, seq: int) -> Item | None: ...
    async def page(self, batch_id: UUID, *, after_seq: int, limit: int) -> Sequence[Item]:
        """Items with seq > after_seq in order."""
        ...

    async def items(self, batch_id: UUID, seqs: Sequence[int]) -> Sequence[Item]: ...
    async def retried_runs(self, batch_id: UUID, seqs: Sequence[int]) -> Mapping[int, int]:
        """The current run of those that were retried; the others are in their run 1."""
        ...

    async def load(self, shard: int, claimed: Sequence[tuple[UUID, int, int]]) -> Loaded:
        """One query for many claimed (batch, seq, run) of many batches."""
        ...

    async def note_crashes(self, suspects: Sequence[tuple[UUID, int, int, int]]) -> None:
        """So many holders died with (batch, seq, run), in one statement: `window` brings it back after a loss of Redis.
        Never lowers what is known. Raises InvariantBroken for a batch that is gone."""
        ...

    async def window(
        self, batch_id: UUID, resource_id: UUID, *, after_seq: int, limit: int, known_tokens: int | None = None
    ) -> tuple[int, list[Entry]]:
        """The next entries of a flow without an outcome for their current run, and the cursor up to which nothing was
        left out. Bounded work: it looks at no more than a bounded range of seqs per call, so it may answer an empty
        list with a cursor that moved on. Outputs that were guessed at creation are guessed again by what is likely for
        the batch by now, else for the resource; a guess that rises stays within what the present limits can admit.
        known_tokens: what the caller has seen of the batch's answers, for when nobody told the store yet."""
        ...

    async def lowest_unfinished(self, batch_id: UUID, resource_id: UUID) -> int | None:
        """Lowest seq of a flow without an outcome for its current run."""
        ...

    async def unfinished(self, batch_id: UUID, *, after_seq: int, limit: int) -> Sequence[tuple[int, int, UUID]]:
        """(seq, current run, resource) of items without an outcome, in order of seq: for the canceller."""
        ...


class OutcomeStore(Protocol):
    """The flush, and what it leaves for readers."""

    async def flush(self, outcomes: Sequence[ItemOutcome], *, wait_for_locks: bool = False) -> Flushed:
        """Record outcomes of many batches in ONE statement (design section 7). Rows that Postgres cannot store are
        found by bisection and recorded as FAILED / RESPONSE_NOT_STORABLE. wait_for_locks: do not skip locked batches.
        """
        ...

    async def events(self, batch_id: UUID, *, after: int, limit: int) -> Sequence[Event]:
        """Numbered events in order, gapless from after + 1."""
        ...


class ShardStore(Protocol):
    """Shards and their epochs; workers' sign of life."""

    async def shards(self) -> int:
        """How many shards, fixed at first start."""
        ...

    async def live_shards(self) -> Sequence[int]:
        """Shards that have at least one environment."""
        ...

    async def epoch(self, shard: int) -> tuple[int, str]:
        """(epoch, identity): identity is the Redis run id and replication id that the epoch was opened with."""
        ...

    async def raise_epoch(self, shard: int, seen: int, identity: str) -> int | None:
        """Epoch seen + 1 by compare-and-set; None when another was faster."""
        ...

    async def unfinished_flows(
        self, shard: int, *, after: tuple[UUID, UUID] | None, limit: int
    ) -> Sequence[StoredFlow]:
        """Flows of batches that are not final, by (batch, resource): for reconciler and repair."""
        ...

    async def cancelled_unfinished(self, limit: int) -> Sequence[Batch]:
        """Cancelled batches whose items do not all have an outcome yet."""
        ...

    async def batches(self, batch_ids: Sequence[UUID]) -> Sequence[Batch]: ...
    async def raise_generation(self, batch_id: UUID, resource_id: UUID, seen: int) -> int | None:
        """Generation seen + 1 by compare-and-set."""
        ...

    def exclusive(self, name: str) -> Any:
        """Async context manager that yields True when this process got the advisory lock `name`, else False."""
        ...

    async def beat(self, holder: str, kind: str, info: Mapping[str, Any]) -> Mapping[str, float]:
        """Sign of life of a process (upsert). Answers the other workers that gave one in the last 15 s: how many
        seconds ago."""
        ...

    async def alive(self, within_s: float) -> Sequence[Mapping[str, Any]]:
        """Processes that beat within that time: {holder, kind, info, beat_at}."""
        ...

    async def maintain(self) -> None:
        """The pruner's duty, about hourly: partitions of the coming weeks, forgotten keys and processes."""
        ...


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
