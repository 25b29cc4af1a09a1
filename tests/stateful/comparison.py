"""One script run on the engine, the same step on the model, and then the two held against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scheduler.domain.work import QueueDefinition
from tests.stateful.admission import Door
from tests.stateful.checks import check_all, check_wake_ups
from tests.stateful.model import Model
from tests.stateful.shard import Seen, Shard
from tests.stateful.world import QUEUES, START_MS

SLOWER = 0.05
"""Of include shard."""


class Comparison:
    """A shard in its first epoch beside an empty model. steps: scripts that were run and checked."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.model = Model(START_MS)
        self.door = Door()
        self.clock_ms = START_MS
        self.seen: Seen | None = None
        self.claims_again = False
        self.steps = 0
        for number, ref in enumerate(QUEUES):
            self.model.queues[number] = QueueDefinition(ref, 0, (), (), 1.0)
        shard.clear()

    @property
    def now_ms(self) -> int:
        """The engine's time. Where the server's went back it goes on all the same, ahead and a little slower."""
        if self.seen is None:
            return self.clock_ms
        last_ms, ahead_ms = self.seen.now_ms, self.seen.ahead_ms
        ahead_ms = max(0.0, ahead_ms - SLOWER * max(0.0, self.clock_ms + ahead_ms - last_ms))
        return int(max(self.clock_ms + ahead_ms, last_ms))

    def run(self, script: str, *args: Any, then: Callable[[Any], None] = lambda _: None, woken: bool = False) -> Any:
        """Run a script, bring the model to where it must be now by `then(reply)`, and compare."""
        self.steps += 1
        before = self.seen
        reply, seen = self.shard.run(script, self.clock_ms, *args, pop_token=woken)
        now_ms = self.now_ms
        assert seen.now_ms <= now_ms, f"the engine's clock is at {seen.now_ms}, should be {now_ms}"
        self.model.now_ms = now_ms
        then(reply)
        self.seen = seen
        check_all(self.model, seen, before)
        check_wake_ups(seen, claims_again=self.claims_again)
        return reply
