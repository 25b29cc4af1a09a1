"""The observer: what answers said of limits, gathered and told to the engine ten times a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import structlog

from scheduler.domain.errors import Unavailable
from scheduler.domain.observation import CallsEnded, LearnedLimits, Observation
from scheduler.domain.outcome import AttemptEnd, Failed, Fatal, LimitHit, Retry, Succeeded
from scheduler.domain.rates import RateReport
from scheduler.ports.engine import Engine
from scheduler.ports.learned import LearnedLimitStore, LearnedModel
from scheduler.providers.call import Account, Departure
from scheduler.providers.profile import Profile, Shape
from scheduler.services.budgets.observations import observation_of

INTERVAL_S = 0.1
KEEP_S = 5.0
"""Between two words to Postgres of what was learned."""
AT_ONCE = 64
"""Reports in one call of the engine."""
ARRIVES_MS = 100
"""A provider looks at its limits about so long after a call left: the report speaks of that moment, however long the
answer takes."""
MOST_PLACES = 1_024
"""Calls at once that are tried at a provider without limits, if its connection sets no bound."""

_log = structlog.get_logger(__name__)


class _Key(NamedTuple):
    shard: int
    connection_id: UUID
    model: str


@dataclass(slots=True)
class _Seen:
    """What came in since the last word. report: that of the call that left last, at sent_s."""

    profile: Profile
    report: RateReport | None = None
    sent_s: float = float("-inf")
    answered: int = 0
    failed: int = 0
    total_s: float = 0.0
    units: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """One turn: models that the engine was told of, and those of which it knows something new."""

    told: int = 0
    learned: int = 0


class Observer:
    """Sees the end of every call of this process, and keeps what the engine learned of them in the store."""

    def __init__(self, engine: Engine, store: LearnedLimitStore, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._seen: dict[_Key, _Seen] = {}
        self._news: dict[tuple[UUID, str], LearnedLimits] = {}

    def saw(
        self, shard: int, account: Account, model: str, departure: Departure, end: AttemptEnd, now_s: float
    ) -> None:
        """Take note of the end of a call; nothing is sent yet. What never left is ignored."""
        sent_s, counted = departure.sent_s, account.profile.shape is Shape.NONE
        if sent_s is None or (end.rates is None and not counted):
            return
        if end.rates is not None:
            self.saw_rates(shard, account, model, departure, end.rates)
        if counted:
            seen = self._of(shard, account, model)
            match end:
                case Succeeded():
                    seen.answered += 1
                    seen.total_s += now_s - sent_s
                    seen.units += end.usage.output_tokens or 1
                case Retry() | LimitHit():
                    seen.failed += 1
                case Failed() | Fatal():
                    pass  # the call itself was at fault: it says nothing of the load

    def saw_rates(self, shard: int, account: Account, model: str, departure: Departure, rates: RateReport) -> None:
        """Take note of what an answer said of limits, also of one that is still coming."""
        seen = self._of(shard, account, model)
        if departure.sent_s is not None and departure.sent_s >= seen.sent_s:
            seen.report, seen.sent_s = rates, departure.sent_s

    @property
    def has_news(self) -> bool:
        """Whether there is something that the engine was not told of."""
        return bool(self._seen)

    def _of(self, shard: int, account: Account, model: str) -> _Seen:
        key = _Key(shard, account.connection_id, model)
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = _Seen(account.profile)
        return seen

    async def run_once(self) -> Observed:
        """Tell the engine what came in. What a lost epoch or an absent Redis misses is not sent later: it is old."""
        if not self._seen:
            return Observed()
        seen, self._seen = self._seen, {}
        by_shard: dict[int, list[_Key]] = {}
        for key in seen:
            by_shard.setdefault(key.shard, []).append(key)
        told = learned = 0
        for shard, keys in by_shard.items():
            for start in range(0, len(keys), AT_ONCE):
                chunk = {
                    (observation := self._observation(key, seen[key])).budget_id: (key, observation)
                    for key in keys[start : start + AT_ONCE]
                }
                try:
                    news = await self._engine.observe(shard, [observation for _, observation in chunk.values()])
                except Unavailable as problem:
                    _log.debug("observation.dropped", shard=shard, reason=problem.message)
                    continue
                told += len(chunk)
                learned += len(news)
                for each in news:
                    key, _ = chunk[each.budget_id]
                    self._news[key.connection_id, key.model] = each
        return Observed(told, learned)

    async def keep_once(self) -> int:
        """Store what is newly known of models; answers of how many. While Postgres is away it is kept."""
        news, self._news = self._news, {}
        if news:
            try:
                await self._store.learn_limits(
                    [LearnedModel(*address, known.limits, known.places) for address, known in news.items()]
                )
            except Unavailable:
                self._news = news | self._news
                return 0
        return len(news)

    def _observation(self, key: _Key, seen: _Seen) -> Observation:
        age_ms = round((self._clock() - seen.sent_s) * 1000) - ARRIVES_MS if seen.report else 0
        calls = None
        if seen.profile.shape is Shape.NONE:
            calls = CallsEnded(seen.answered, seen.failed, round(seen.total_s * 1000), seen.units, MOST_PLACES)
        return observation_of(key.connection_id, key.model, seen.profile, seen.report, max(0, age_ms), calls)
