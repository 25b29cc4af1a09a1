"""Arguments and replies of the scripts `observe` and `checkpoint`."""

from __future__ import annotations

import json
from typing import Any

from scheduler.domain.observation import LearnedLimits, LimitUse, Observation
from scheduler.domain.quota import QuotaHandout, QuotaUse
from scheduler.domain.work import Limit, Meter
from scheduler.engine.codec import METER_OF, METERS, PERIOD_OF, PERIODS, UnexpectedReply, limit_argument


def observe_argument(observation: Observation) -> str:
    """One report as observe takes it."""
    calls = observation.calls
    return json.dumps(
        [
            observation.budget_id,
            observation.connection_budget_id,
            max(0, observation.age_ms),
            int(observation.refilled),
            [limit_argument(limit) for limit in observation.limits],
            [_use_argument(use) for use in observation.uses],
            [calls.answered, calls.failed, calls.total_ms, calls.units, calls.most_places] if calls else [],
        ]
    )


def _use_argument(use: LimitUse) -> list[Any]:
    meter = use.meter or Meter.TOTAL
    return [
        PERIODS[use.period][0] + METERS[meter][0],
        "requests" if use.meter is None else "tokens",
        use.limit,
        use.used,
        -1 if use.reset_ms is None else use.reset_ms,
        use.rounded_to,
    ]


def read_observed(reply: Any) -> tuple[LearnedLimits, ...]:
    """RETURNS of observe."""
    match reply:
        case [b"observed", *changed]:
            return tuple(_learned(*each) for each in changed)
        case _:
            raise UnexpectedReply("observe", reply)


def _learned(budget: bytes, places: int, *limits: Any) -> LearnedLimits:
    return LearnedLimits(
        budget.decode(),
        tuple(
            Limit(
                PERIOD_OF[code.decode().rstrip("<>")],
                None if requests < 0 else requests,
                None if tokens < 0 else tokens,
                meter=METER_OF[meter.decode()],
            )
            for code, meter, requests, tokens in sorted(limits)
        ),
        None if places < 0 else places,
    )


def read_quotas(reply: Any) -> QuotaHandout:
    """RETURNS of checkpoint."""
    match reply:
        case [b"quotas", receipt, *rows]:
            uses = (
                QuotaUse(budget.decode(), code.decode(), index, max(0, requests), max(0, tokens), zone.decode())
                for budget, code, index, requests, tokens, zone in rows
            )
            return QuotaHandout(receipt, tuple(uses))
        case _:
            raise UnexpectedReply("checkpoint", reply)
