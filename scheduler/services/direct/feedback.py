"""What direct calls teach: limits that answers tell of, pauses, parkings, and why a provider cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from scheduler import metrics
from scheduler.domain.direct import Refused
from scheduler.domain.errors import Unavailable
from scheduler.domain.outcome import AttemptEnd, Fatal, FatalScope, LimitHit, Succeeded, Usage
from scheduler.domain.parking import Parking
from scheduler.domain.work import PauseCause
from scheduler.ports.engine import Engine
from scheduler.providers.call import Account, Departure
from scheduler.providers.profile import Shape
from scheduler.providers.streaming import OpenStream
from scheduler.services.budgets.observer import INTERVAL_S, KEEP_S, Observer
from scheduler.services.budgets.parkings import Parkings
from scheduler.services.budgets.pausing import ALL_MODELS, budget_of, rest
from scheduler.services.direct.rests import Rests

FRESH_S = 1.0
"""So long what was read of an environment's parkings is believed: many callers may ask while a provider is shut."""
REMEMBERED = 1_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shut:
    """The provider cannot be used for now, for a reason that is no limit. code: of the parking, or that of an
    unreachable provider. wait_ms: until it is tried again."""

    code: str
    wait_ms: int


class DirectFeedback:
    """Takes note of how direct calls end. What answers say is told to the engine by a task, ten times a second, so no
    call waits for it. clock: monotonic seconds; wall_clock: seconds since 1970."""

    def __init__(
        self,
        engine: Engine,
        observer: Observer,
        parkings: Parkings,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._observer = observer
        self._parkings = parkings
        self._clock = clock
        self._wall_clock = wall_clock
        self._rests = Rests()
        self._known: dict[UUID, tuple[float, Sequence[Parking]]] = {}
        self._telling: asyncio.Task[None] | None = None

    def ended(self, shard: int, account: Account, model: str, departure: Departure, end: AttemptEnd) -> None:
        """A call is over."""
        self._observer.saw(shard, account, model, departure, end, self._clock())
        if isinstance(end, Succeeded):
            self._well(account, model)
        self._tell_soon()

    def opened(self, shard: int, account: Account, model: str, departure: Departure, stream: OpenStream) -> None:
        """A stream began: what its headers say is known now, how long it takes at its end."""
        if stream.rates is not None:
            self._observer.saw_rates(shard, account, model, departure, stream.rates)
            self._tell_soon()
        self._well(account, model)

    def streamed(self, shard: int, account: Account, model: str, departure: Departure, usage: Usage) -> None:
        """A stream came to its end."""
        if account.profile.shape is Shape.NONE:
            self.ended(shard, account, model, departure, Succeeded(b"", {}, usage))

    async def limit(self, shard: int, account: Account, model: str, end: LimitHit) -> None:
        """Pause the connection, or the model, before the lease ends: whoever it lets in must find it shut. Calls
        that are refused while the pause runs ask for no other, unless the provider told a time."""
        paused = model if end.one_model else ALL_MODELS
        budget = budget_of(account.connection_id, paused)
        told_ms = self._rests.limited(budget, end.after_ms, self._clock())
        if told_ms is None:
            return
        cause = PauseCause.GROWTH if end.growth else PauseCause.LIMIT
        try:
            await rest(
                self._engine,
                shard,
                account.connection_id,
                model,
                told_ms,
                end.reason,
                cause,
                self._wall_clock(),
                one_model=end.one_model,
            )
        except Unavailable:
            self._rests.failed(budget)
            return
        metrics.PAUSES.labels(cause.value).inc()
        _log.warning("connection.paused", budget=budget, ms=told_ms, reason=end.reason)

    async def park(self, shard: int, account: Account, model: str, end: Fatal) -> Shut:
        """Shut the connection, or the model, before the lease ends."""
        shut = model if end.scope is FatalScope.MODEL else ALL_MODELS
        await self._parkings.park(
            shard, account.connection_id, shut, code=end.code, reason=end.reason, told_ms=end.after_ms
        )
        return Shut(end.code, self._parkings.lasts_ms(end.after_ms))

    async def why_shut(self, environment_id: UUID, refused: Refused) -> Shut:
        """Why a call was refused by a budget that is shut."""
        now_s = self._clock()
        read_s, parked = self._known.get(environment_id, (float("-inf"), ()))
        if now_s - read_s >= FRESH_S:
            try:
                parked = await self._parkings.in_force(environment_id)
            except Unavailable:
                parked = ()
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[environment_id] = now_s, parked
        for each in parked:
            if budget_of(each.connection_id, each.model) == refused.budget:
                return Shut(each.code, refused.wait_ms)
        return Shut("PROVIDER_UNREACHABLE", refused.wait_ms)

    async def close(self) -> None:
        """Tell no more."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    def _well(self, account: Account, model: str) -> None:
        if self._rests.known:
            for paused in (ALL_MODELS, model):
                self._rests.answered(budget_of(account.connection_id, paused))

    def _tell_soon(self) -> None:
        if self._observer.has_news and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell(), name="direct-observer")

    async def _tell(self) -> None:
        """As long as there is something to tell; what is learned is kept every few seconds, and at the end."""
        kept_s = self._clock()
        try:
            while self._observer.has_news:
                await asyncio.sleep(INTERVAL_S)
                await self._observer.run_once()
                if self._clock() - kept_s >= KEEP_S:
                    kept_s = self._clock()
                    await self._observer.keep_once()
            await self._observer.keep_once()
        except Exception:
            _log.exception("direct.observer_failed")
