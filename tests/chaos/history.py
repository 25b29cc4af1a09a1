"""What was seen from outside of everything that was asked for, and the judgement of it.

Nothing here asks Brim how it did something: items come from those who posted them, calls from the provider's ledger,
events from readers, deliveries from the receiver, faults from whoever made them.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.schedule import MAY_REPEAT, Fault

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
CLAIM_AHEAD_S = 1.0
"""An attempt is under way a little before its call arrives: it was claimed, loaded and sent."""
LATE_CALL_S = 2.0
"""A second call may be claimed already when the outcome of the first is recorded; none comes later than this."""


@dataclass(slots=True)
class Struck:
    """A fault and when it held: wall seconds."""

    fault: Fault
    began_s: float
    ended_s: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A numbered event as one reader saw it. custom_id: of the item; empty for events of the batch. run counts from
    what was seen: an item's final event."""

    number: int
    action: str
    custom_id: str
    seen_s: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """A callback that arrived. key: its delivery id. subject: "item:<customId>:<status>" or "batch:<status>"."""

    key: str
    batch_id: str
    subject: str
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A call at the provider's door. body: digest of it, the same for each attempt of an item."""

    arrival_s: float
    body: str
    status: int | str | None
    fault: str


@dataclass(slots=True)
class BatchHistory:
    """One accepted batch. custom_ids: in order of posting. final / items: as read at the end."""

    batch_id: str
    custom_ids: list[str]
    wants_callbacks: bool
    events: list[Event] = field(default_factory=list)
    second_reading: list[Event] = field(default_factory=list)
    done: bool = False
    final: dict[str, Any] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class History:
    """One run. bodies: digest of the body of a call → customId. limits: (what, limit, worst sliding minute)."""

    batches: dict[str, BatchHistory] = field(default_factory=dict)
    bodies: dict[str, str] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    faults: list[Struck] = field(default_factory=list)
    limits: list[tuple[str, int, int]] = field(default_factory=list)
    refused: int = 0

    def violations(self) -> list[str]:
        """Everything that a promise forbids, in words; empty when all were kept."""
        found: list[str] = []
        for batch in self.batches.values():
            found += _lost(batch)
            found += _counters(batch)
            found += _events(batch)
            found += self._deliveries(batch)
        found += self._repeated_calls()
        for name, limit, worst in self.limits:
            if worst > limit:
                found.append(f"{name}: {worst} in a sliding minute, the limit is {limit}")
        if self.refused:
            found.append(f"{self.refused} calls were refused with 429 at a door whose limit we know")
        return found

    def _deliveries(self, batch: BatchHistory) -> Iterator[str]:
        if not batch.wants_callbacks:
            return
        got = {each.subject for each in self.receipts if each.batch_id == batch.batch_id and each.acknowledged}
        wanted = {f"item:{item['customId']}:{item['status']}" for item in batch.items}
        wanted.add(f"batch:{batch.final.get('status')}")
        missing = wanted - got
        if missing:
            yield f"{batch.batch_id}: {len(missing)} deliveries never arrived, such as {min(missing)}"
        subjects: dict[str, set[str]] = defaultdict(set)
        for each in self.receipts:
            if each.batch_id == batch.batch_id:
                subjects[each.key].add(each.subject)
        for key, several in subjects.items():
            if len(several) > 1:
                yield f"{batch.batch_id}: delivery {key} had {len(several)} different contents"

    def recorded_s(self) -> dict[str, float]:
        """When a reader first saw an item's outcome: its record is not later."""
        seen: dict[str, float] = {}
        for batch in self.batches.values():
            for event in batch.events:
                if event.custom_id:
                    seen[event.custom_id] = min(event.seen_s, seen.get(event.custom_id, event.seen_s))
        return seen

    def repeats(self) -> list[tuple[str, Call, Call]]:
        """(customId, a call that was answered well, the next call of the same item)."""
        by_item: dict[str, list[Call]] = defaultdict(list)
        for call in self.calls:
            by_item[self.bodies.get(call.body, "")].append(call)
        pairs = []
        for custom_id, calls in by_item.items():
            calls.sort(key=lambda call: call.arrival_s)
            for earlier, later in itertools.pairwise(calls):
                if custom_id and earlier.status == 200 and earlier.fault in ("", "odd"):
                    pairs.append((custom_id, earlier, later))
        return pairs

    def _repeated_calls(self) -> Iterator[str]:
        unknown = sum(call.body not in self.bodies for call in self.calls)
        if unknown:
            yield f"{unknown} calls are of no item that was posted"
        recorded = self.recorded_s()
        for custom_id, earlier, later in self.repeats():
            record_s = recorded.get(custom_id, later.arrival_s)
            gap_s = later.arrival_s - earlier.arrival_s
            if later.arrival_s > record_s + LATE_CALL_S:
                yield f"item {custom_id} was called again {later.arrival_s - record_s:.2f} s after its record"
            elif not self._excused(earlier.arrival_s - CLAIM_AHEAD_S, min(record_s, later.arrival_s)):
                yield f"item {custom_id} was answered and called again {gap_s:.2f} s later without cause"

    def _excused(self, from_s: float, to_s: float) -> bool:
        """Whether a fault that excuses a second call held at some time of this interval."""
        return any(
            struck.fault in MAY_REPEAT and struck.began_s <= to_s and struck.ended_s >= from_s for struck in self.faults
        )


def _lost(batch: BatchHistory) -> Iterator[str]:
    if batch.final.get("status") not in FINAL:
        yield f"{batch.batch_id}: not ended ({batch.final.get('status')})"
    shown = Counter(item["customId"] for item in batch.items)
    for custom_id in batch.custom_ids:
        if shown[custom_id] != 1:
            yield f"{batch.batch_id}: item {custom_id} is shown {shown[custom_id]} times"
    for item in batch.items:
        if item["status"] not in FINAL:
            yield f"{batch.batch_id}: item {item['customId']} is {item['status']} at the end"


def _counters(batch: BatchHistory) -> Iterator[str]:
    final, items = batch.final, Counter(item["status"] for item in batch.items)
    if not final:
        return
    for status in FINAL:
        if final[status.lower()] != items[status]:
            yield f"{batch.batch_id}: counter {status.lower()} is {final[status.lower()]}, items say {items[status]}"
    if final["pending"] or final["running"] or final["totalItems"] != len(batch.custom_ids):
        yield f"{batch.batch_id}: pending {final['pending']}, running {final['running']}, of {final['totalItems']}"


def _events(batch: BatchHistory) -> Iterator[str]:
    numbers = [event.number for event in batch.events]
    if numbers != list(range(1, len(numbers) + 1)):
        wrong = next((i for i, number in enumerate(numbers) if number != i + 1), -1)
        yield f"{batch.batch_id}: events are not 1 … {len(numbers)} once and in order (at {wrong}: {numbers[wrong]})"
    if not batch.done:
        yield f"{batch.batch_id}: the reader never saw [DONE]"
    ends = Counter(event.custom_id for event in batch.events if event.custom_id)
    for custom_id in batch.custom_ids:
        if ends[custom_id] != 1:
            yield f"{batch.batch_id}: item {custom_id} ended {ends[custom_id]} times for the reader"
    if batch.events and batch.final and batch.events[-1].action != f"batch-{batch.final['status'].lower()}":
        yield f"{batch.batch_id}: the last event is {batch.events[-1].action}, the batch {batch.final['status']}"
    told = {event.custom_id: event.action for event in batch.events if event.custom_id}
    for item in batch.items:
        if told.get(item["customId"]) != f"item-{item['status'].lower()}":
            yield f"{batch.batch_id}: item {item['customId']} is {item['status']}, told {told.get(item['customId'])}"
    again = [(event.number, event.action, event.custom_id) for event in batch.second_reading]
    if again != [(event.number, event.action, event.custom_id) for event in batch.events]:
        yield f"{batch.batch_id}: a second reading from the start differs"
