"""How large the reserve for an answer may become, so that limits can still admit its item. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from scheduler.domain.capacity import Capacity, Period, largest_item_tokens
from scheduler.domain.work import Limit, Meter


@dataclass(frozen=True, slots=True)
class OutputRoom:
    """The largest item that limits can ever admit: its tokens in all, and those of its answer; None: no limit."""

    item_tokens: int | None = None
    answer_tokens: int | None = None

    def cut(self, reserve_tokens: int, in_tokens: int, held_tokens: int) -> int:
        """A reserve that is to rise from `held_tokens`, no larger than fits beside the prompt; never below those, which
        its limits admitted when the item was accepted."""
        for most in (None if self.item_tokens is None else self.item_tokens - in_tokens, self.answer_tokens):
            if most is not None:
                reserve_tokens = min(reserve_tokens, most)
        return max(reserve_tokens, held_tokens)


def output_room(
    own: Iterable[Iterable[Capacity]],
    connections: Iterable[Iterable[Capacity]],
    learned: Iterable[Iterable[Limit]],
    pool_share: float | None,
) -> OutputRoom:
    """The room under everything that binds a flow.

    own: capacities of its batch, key and resource. connections: those of its targets; learned: limits of their models.
    pool_share: largest part of each connection's minute that the resource's pool may use. An item may go to any target,
    so the lowest of all counts.
    """
    items: list[int | None] = [largest_item_tokens(each) for each in own]
    answers: list[int] = []
    for capacities in connections:
        given = list(capacities)
        items.append(largest_item_tokens(given))
        minute = largest_item_tokens(each for each in given if each.period is Period.MINUTE)
        if pool_share is not None and minute is not None:
            items.append(max(1, ceil(minute * pool_share)))
    for limits in learned:
        for limit in limits:
            if limit.meter is Meter.TOTAL:
                items.append(limit.tokens)
            elif limit.meter is Meter.OUTPUT and limit.tokens is not None:
                answers.append(limit.tokens)
    return OutputRoom(
        min((each for each in items if each is not None), default=None),
        min(answers, default=None),
    )
