"""What `explain` answers, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from scheduler.domain.rates import Dimension
from scheduler.domain.standing import Account, Gauge, Load, Place, Rival, Standing
from scheduler.engine.codec import PERIOD_OF, UnexpectedReply

_METERS = {
    "tokens": Dimension.TOKENS,
    "in_tokens": Dimension.INPUT_TOKENS,
    "out_tokens": Dimension.OUTPUT_TOKENS,
}
"""The meter of a limit in Lua → what its tokens are."""


def read_explained(reply: Any, position: int, share: float) -> Standing | None:
    """RETURNS of explain; None: the engine does not hold the flow. share: part of the positions not pushed yet that are
    the flow's own."""
    match reply:
        case [b"explained", bytes(text)]:
            told = msgspec.json.decode(text)
        case [b"unknown"]:
            return None
        case _:
            raise UnexpectedReply("explain", reply)
    entry, own = told["entry"], _rival(told["own"])
    to_come = max(told["ends"] - told["cursor"], 0)
    mean = own.left.times(1 / own.left.requests) if own.left.requests else Load()
    ahead, place = _ahead(told, mean), Place(entry["place"])
    cost = Load(1, entry["in_tokens"], entry["out_tokens"])
    if place is Place.ABSENT and told["cursor"] < position <= told["ends"]:
        place, cost = Place.WAITING, Load(1, mean.in_tokens, mean.out_tokens)
        ahead = mean.times(told["waiting"] + (position - told["cursor"] - 1) * share)
    accounts = [_account(each) for each in _listed(told["accounts"])]
    left = mean.times(own.left.requests - to_come * (1 - share))
    targets = tuple(tuple(group) for group in _listed(told["targets"]))
    parked_on = told["flow_parked_on"]
    if told["queue_parked"] and not parked_on and targets:
        parked_on = targets[0][0]
    return Standing(
        place=place,
        paused=told["paused"],
        dead=told["dead"],
        own=Rival(own.name, own.weight, own.tag, left),
        leased=told["leased"],
        deferred=told["deferred"],
        ahead=ahead,
        cost=cost,
        due_ms=entry["due_ms"],
        last_due_ms=told["last_due_ms"],
        target=entry["target"],
        queue=_rival(told["queue"]),
        spill=told["spill"],
        flow_budgets=tuple(_listed(told["flow_budgets"])),
        queue_budgets=tuple(_listed(told["queue_budgets"])),
        targets=targets,
        accounts={each.budget_id: each for each in accounts},
        flows=tuple(_rival(each) for each in _listed(told["flows"])),
        queues=tuple(_rival(each) for each in _listed(told["queues"])),
        parked_on=parked_on,
    )


def _listed(value: Any) -> Sequence[Any]:
    """An empty table of Lua is an empty object in JSON."""
    return value if isinstance(value, list) else ()


def _ahead(told: Any, mean: Load) -> Load:
    """What was read counts as it is; the mean stands for the rest."""
    ahead, read = told["entry"]["ahead"], told["read"]
    known = Load(min(ahead, read), told["in_ahead"], told["out_ahead"])
    return known + mean.times(max(ahead - read, 0))


def _rival(row: Sequence[Any]) -> Rival:
    """Its supply is left out, or false, where it has none; so are its parts."""
    name, weight, tag, entries, in_tokens, out_tokens, *more = row
    left = Load(entries, entries * in_tokens, entries * out_tokens)
    supply = (more[0], more[1]) if more and more[0] is not False else None
    return Rival(name, weight, tag, left, supply, frozenset(_listed(more[2])) if len(more) > 2 else frozenset())


def _account(told: Any) -> Account:
    if "limits" not in told:
        return Account(told["id"], known=False)
    gauges = [gauge for row in _listed(told["limits"]) for gauge in _gauges(row)]
    in_flight = told["max_in_flight"]
    return Account(
        budget_id=told["id"],
        gauges=tuple(gauges),
        in_flight=int(told["in_flight"]),
        max_in_flight=None if in_flight < 0 else int(in_flight),
        paused_ms=told["paused_ms"],
        pause_reason=told["why"],
        recovering=told["recovering"] == 1,
        shut=told["shut"],
        waiting=told["waiting"],
        rivals=tuple(_rival(each) for each in _listed(told["rivals"])),
    )


def _gauges(row: Sequence[Any]) -> list[Gauge]:
    """One limit of Lua holds a request limit, a token limit, or both."""
    code, meter, requests, requests_used, tokens, tokens_used, window_ms, pace, burst_ms = row[:9]
    behind_requests_ms, behind_tokens_ms, ends_ms, slides = row[9:]
    found = []
    request_ms = window_ms / (pace * requests) if pace > 0 and requests > 0 else 0.0
    # As include pace has it: of a burst of two requests or more the last one ends with it.
    request_burst_ms = max(burst_ms - request_ms, min(burst_ms, request_ms))
    for dimension, limit, used, behind_ms, most_ms, column in (
        (Dimension.REQUESTS, requests, requests_used, behind_requests_ms, request_burst_ms, 1),
        (_METERS[meter], tokens, tokens_used, behind_tokens_ms, burst_ms, 2),
    ):
        if limit >= 0:
            found.append(
                Gauge(
                    period=PERIOD_OF[code.rstrip("<>")],
                    dimension=dimension,
                    limit=int(limit),
                    used=used,
                    window_ms=int(window_ms),
                    pace=None if pace <= 0 else pace,
                    burst_ms=int(most_ms),
                    behind_ms=behind_ms,
                    slides=tuple((each[0], each[column]) for each in _listed(slides)),
                    ends_ms=None if ends_ms < 0 else ends_ms,
                )
            )
    return found
