"""How far a batch has come and how fast it goes: pure, the time is given."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from ..records import FINAL_STATUSES, Batch, Event

# Long enough to be calm where a provider's minute fills in bursts, short enough to follow a change.
_RATE_WINDOW_S = 20.0
# Thousands of events a second need not be thousands of samples.
_SAMPLE_S = 0.1


@dataclass(frozen=True, slots=True)
class Tally:
    """A batch's counts at one moment. `per_s`: items ended a second lately, None until it can be told. `waits`: why a
    live batch does not move, as for a provider without credit, where the server says so."""

    batch_id: str
    type: str
    status: str
    paused: bool
    total: int
    running: int
    completed: int
    failed: int
    cancelled: int
    prompt_tokens: int
    output_tokens: int
    per_s: float | None = None
    elapsed_s: float = 0.0
    waits: str | None = None

    @property
    def finished(self) -> int:
        """Items that have ended, in whatever way."""
        return self.completed + self.failed + self.cancelled

    @property
    def is_final(self) -> bool:
        """True once the batch has ended."""
        return self.status in FINAL_STATUSES

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at the present rate, None when that cannot be told."""
        if not self.per_s or self.paused or self.is_final:
            return None
        return (self.total - self.finished) / self.per_s


class Tallier:
    """Keeps the counts of one batch, from what the server says of the batch or from its events."""

    def __init__(self, started_at_s: float) -> None:
        self._started_at_s = started_at_s
        self._samples: deque[tuple[float, int]] = deque()
        self._now: Tally | None = None
        self._running_ids: set[str] = set()

    def see_batch(self, batch: Batch, at_s: float) -> Tally:
        """Take the server's own counts."""
        return self.see(
            Tally(
                batch_id=batch.batch_id,
                type=batch.type,
                status=batch.status,
                paused=batch.paused,
                total=batch.total_items,
                running=batch.running,
                completed=batch.completed,
                failed=batch.failed,
                cancelled=batch.cancelled,
                prompt_tokens=batch.total_prompt_tokens,
                output_tokens=batch.total_output_tokens,
                waits=None if batch.is_final else batch.error_message,
            ),
            at_s,
        )

    def see(self, tally: Tally, at_s: float) -> Tally:
        """Take counts as they are now; gives them back with the pace."""
        return self._note(tally, at_s)

    def see_event(self, event: Event, at_s: float) -> Tally | None:
        """Count an event; None before the first one that describes the batch."""
        if event.batch is not None:
            return self.see_batch(event.batch, at_s)
        item, now = event.item, self._now
        if item is None or now is None:
            return now
        match event.action:
            case "item-running":
                self._running_ids.add(item.item_id)
                now = replace(now, status="RUNNING")
            case "item-completed":
                now = replace(now, completed=now.completed + 1)
            case "item-failed":
                now = replace(now, failed=now.failed + 1)
            case "item-cancelled":
                now = replace(now, cancelled=now.cancelled + 1)
        if item.is_final:
            self._running_ids.discard(item.item_id)
            now = replace(
                now,
                prompt_tokens=now.prompt_tokens + (item.prompt_tokens or 0),
                output_tokens=now.output_tokens + (item.output_tokens or 0),
            )
        return self._note(replace(now, running=len(self._running_ids)), at_s)

    def _note(self, tally: Tally, at_s: float) -> Tally:
        if len(self._samples) > 1 and at_s - self._samples[-2][0] < _SAMPLE_S:
            self._samples.pop()
        self._samples.append((at_s, tally.finished))
        while len(self._samples) > 2 and at_s - self._samples[1][0] >= _RATE_WINDOW_S:
            self._samples.popleft()
        then_s, then = self._samples[0]
        span_s = at_s - then_s
        per_s = max(0.0, (tally.finished - then) / span_s) if span_s > 0 else tally.per_s
        self._now = replace(tally, per_s=per_s, elapsed_s=at_s - self._started_at_s)
        return self._now
