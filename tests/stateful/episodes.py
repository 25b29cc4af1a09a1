"""Episodes of random operations from a seed, and the shortest part of one that still fails.

A driver of our own instead of Hypothesis' state machines: operations need no value of an earlier one (leases and orders
are named by number, modulo those that exist), so any part of an episode is an episode, and to shrink is to leave out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.stateful.drain import drain
from tests.stateful.machine import Machine
from tests.stateful.operations import MOST, Operation, decode
from tests.stateful.shard import Shard

_TRIES = 400


@dataclass(frozen=True, slots=True)
class Episode:
    """What happens to a fresh shard. eager: how it is drained at its end."""

    operations: tuple[Operation, ...]
    eager: bool

    def run(self, shard: Shard) -> int:
        """Carry it out; answers the number of checked steps. Raises AssertionError where engine and model disagree."""
        machine = Machine(shard)
        for operation in self.operations:
            machine.apply(operation)
        drain(machine, eager=self.eager)
        machine.door.check()
        return machine.steps


def episode(seed: int, length: int) -> Episode:
    """The episode of a seed: always the same."""
    source = random.Random(seed)
    return Episode(tuple(decode(source.randint(0, MOST)) for _ in range(length)), eager=source.random() < 0.5)


def failure(run: Callable[[], object]) -> str | None:
    """What is wrong; None when nothing is."""
    try:
        run()
    except AssertionError as error:
        return str(error).partition("\n")[0] or repr(error)
    return None


def shortest(failing: Episode, shard: Shard) -> Episode:
    """Leave out halves, quarters, … single operations as long as something still fails (delta debugging)."""
    kept: Sequence[Operation] = failing.operations
    size, tries = max(1, len(kept) // 2), 0
    while tries < _TRIES:
        at, shorter = 0, False
        while at < len(kept) and tries < _TRIES:
            tries += 1
            rest = Episode((*kept[:at], *kept[at + size :]), failing.eager)
            if failure(lambda rest=rest: rest.run(shard)):  # type: ignore[misc]
                kept, shorter = rest.operations, True
            else:
                at += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2)
    return Episode(tuple(kept), failing.eager)


def story(found: Episode, shard: Shard, seed: int) -> str:
    """A counterexample for a person: what is wrong, and every operation that it takes."""
    why = failure(lambda: found.run(shard))
    steps = "\n".join(f"  {operation!r}," for operation in found.operations)
    return f"{why}\nseed {seed}, eager={found.eager}, {len(found.operations)} operations:\n{steps}"
