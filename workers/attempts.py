"""One attempt: the call, what follows from its end, and the word to whoever carries that out."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from scheduler import metrics
from scheduler.domain.errors import Unavailable
from scheduler.domain.outcome import AttemptEnd, Failed, Fatal, LimitHit, Retry, Succeeded
from scheduler.domain.setup import Resource
from scheduler.domain.status import ItemStatus
from scheduler.ports.engine import Engine
from scheduler.ports.items import LoadedItem
from scheduler.providers import noop
from scheduler.providers.call import Account, Adapter, Call, TooLate
from scheduler.services.budgets.observer import Observer
from scheduler.services.budgets.pausing import budget_of, rest
from workers.circuit import OUT_OF_SERVICE, Circuit
from workers.clocks import WallClock
from workers.committer import Committer, Finished
from workers.decision import Decision, GiveBack, Pause, PauseWhy, Record, decide
from workers.holdings import Held, Holdings
from workers.learner import Learner
from workers.parker import Parker
from workers.returns import Returning, Returns

UNPAUSED_DELAY_MS = 1_000
"""An entry waits this long when its connection could not be paused: it must not come round at once."""

_OWN_FAULT = Retry("An internal error of the scheduler.", "INTERNAL_ERROR")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt to make."""

    held: Held
    item: LoadedItem
    resource: Resource
    account: Account
    model: str
    default_args: Mapping[str, bytes]


class Attempts:
    """Makes calls. Every attempt ends as exactly one of: an outcome for the committer, an entry given
    back."""

    def __init__(
        self,
        engine: Engine,
        adapter: Adapter,
        holdings: Holdings,
        committer: Committer,
        returns: Returns,
        circuit: Circuit,
        learner: Learner,
        observer: Observer,
        parker: Parker,
        clock: Callable[[], float],
        wall: WallClock,
        on_late: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._adapter = adapter
        self._holdings = holdings
        self._committer = committer
        self._returns = returns
        self._circuit = circuit
        self._learner = learner
        self._observer = observer
        self._parker = parker
        self._clock = clock
        self._wall = wall
        self._on_late = on_late
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, job: Job) -> None:
        """Make the call in a task of its own."""
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def answer_noop(self, job: Job) -> None:
        """The attempt of a noop connection: over before this returns, without a task."""
        now_s = self._clock()
        if now_s > job.held.send_by_s:
            self._late(job)
            return
        job.held.sent_s = now_s
        self._record(job, Record(ItemStatus.COMPLETED, success=noop.answer()), now_s)

    async def finish(self, grace_s: float) -> int:
        """Wait for calls in flight; after grace_s give the rest back. Answers how many those were."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=grace_s)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=2)
        return len(left)

    async def _run(self, job: Job) -> None:
        try:
            await self._attempt(job)
        except Exception:
            # Not left to expire: as this process lives that counts nothing, and the call would be made for ever.
            _log.exception("attempt.lost", seq=job.item.seq, batch_id=str(job.item.batch_id))
            self._holdings.free_slot(job.held)
            self._carry_out(job, self._decide(job, _OWN_FAULT), self._clock())

    async def _attempt(self, job: Job) -> None:
        held = job.held
        try:
            if self._clock() > held.send_by_s:
                raise TooLate
            end = await self._adapter.send(
                Call(
                    account=job.account,
                    endpoint=job.item.endpoint,
                    model=job.model,
                    request=job.item.request,
                    default_args=job.default_args,
                    timeout_s=job.resource.timeout_ms / 1000,
                    departure=held,
                )
            )
        except TooLate:
            self._late(job)
            return
        except asyncio.CancelledError:
            self._returns.hand_back([held])  # a call that left stays charged all the same
            raise
        except Exception:
            _log.exception("attempt.failed", batch_id=held.lease.ref.flow.batch_id, seq=held.lease.ref.position)
            end = _OWN_FAULT
        self._holdings.free_slot(held)
        await self._end(job, end)

    async def _end(self, job: Job, end: AttemptEnd) -> None:
        held, now_s = job.held, self._clock()
        self._note(job, end, now_s)
        self._observer.saw(held.shard, job.account, job.model, held, end, now_s)
        if held.lost:
            self._holdings.drop(held)
            return
        decision = self._decide(job, end)
        pause = self._pause_of(job, end, decision, now_s)
        paused = await self._pause(job, pause, now_s) if pause else True
        if isinstance(decision, GiveBack) and decision.park is not None:
            paused = await self._parker.park(held.shard, job.account.connection_id, job.model, decision.park)
        self._carry_out(job, decision, now_s, 0 if paused else UNPAUSED_DELAY_MS)

    def _decide(self, job: Job, end: AttemptEnd) -> Decision:
        lease = job.held.lease
        return decide(
            end,
            attempts=lease.entry.attempts,
            target=lease.target,
            targets=len(job.resource.targets),
            max_retries=job.resource.max_retries if job.item.max_retries is None else job.item.max_retries,
            jitter=random.random(),
            bound_for=lease.entry.target,
            spill=job.resource.spill,
        )

    def _carry_out(self, job: Job, decision: Decision, now_s: float, least_ms: int = 0) -> None:
        """least_ms: how long an entry that is given back waits at least."""
        match decision:
            case Record():
                self._record(job, decision, now_s)
            case GiveBack():
                delay_ms = max(decision.delay_ms, least_ms)
                free = job.account.profile.failed_calls_free
                self._returns.give_back(
                    Returning(job.held, delay_ms, decision.spend_attempt, decision.next_target, free)
                )

    def _record(self, job: Job, record: Record, now_s: float) -> None:
        held = job.held
        if record.success is not None:
            self._learner.saw(
                job.resource.resource_id,
                job.item.batch_id,
                job.account.profile,
                job.item.request,
                job.default_args,
                record.success.usage.output_tokens,
            )
        self._committer.put(
            Finished(
                held=held,
                batch_id=job.item.batch_id,
                record=record,
                account=job.account.connection_id,
                model=job.model,
                started_s=held.sent_s if held.sent_s is not None else held.issued_s,
                ended_s=now_s,
                profile=job.account.profile,
            )
        )

    def _late(self, job: Job) -> None:
        metrics.ATTEMPTS.labels("unsent").inc()
        self._on_late()
        self._returns.hand_back([job.held])

    def _pause_of(self, job: Job, end: AttemptEnd, decision: Decision, now_s: float) -> Pause | None:
        """The pause to ask for now; None when there is no cause, or one that lasts as long runs already."""
        budget, asked = job.held.budget, None
        if isinstance(decision, GiveBack) and decision.pause is not None:
            wanted = decision.pause
            limited = budget_of(job.account.connection_id, job.model) if wanted.one_model else budget
            asked = self._circuit.limited(limited, wanted.pause_ms, now_s)
            return replace(wanted, pause_ms=asked) if asked is not None else None
        if isinstance(end, Retry) and (end.transport or end.code in OUT_OF_SERVICE):
            # Often one model of many is overloaded: the others go on. A connection that is being probed rests whole.
            one_model = not end.transport and not self._circuit.is_open(budget)
            silent = budget_of(job.account.connection_id, job.model) if one_model else budget
            asked = self._circuit.failed(silent, now_s)
            return Pause(asked, end.reason, PauseWhy.UNREACHABLE, one_model) if asked is not None else None
        self._circuit.answered(budget)
        if self._circuit.remembers:
            self._circuit.answered(budget_of(job.account.connection_id, job.model))
        return None

    async def _pause(self, job: Job, pause: Pause, now_s: float) -> bool:
        """Pause before anything is given back: what comes back must find the budget shut."""
        shard, connection_id, model = job.held.shard, job.account.connection_id, job.model if pause.one_model else ""
        why, ms, wall_s = pause.why, pause.pause_ms, self._wall.at(now_s).timestamp()
        try:
            await rest(
                self._engine,
                shard,
                connection_id,
                job.model,
                ms,
                pause.reason,
                why.cause,
                wall_s,
                one_model=pause.one_model,
            )
        except Unavailable:
            return False
        metrics.PAUSES.labels(why.value).inc()
        budget = budget_of(connection_id, model)
        _log.warning("connection.paused", budget=budget, why=why.value, ms=ms, reason=pause.reason)
        return True

    def _note(self, job: Job, end: AttemptEnd, now_s: float) -> None:
        """The canonical line of an attempt, and its metrics."""
        held, entry = job.held, job.held.lease.entry
        name = _NAMES[type(end)]
        _ENDED[name].inc()
        run_ms = None if held.sent_s is None else (now_s - held.sent_s) * 1000
        wait_ms = None if held.sent_s is None else (held.sent_s - held.issued_s) * 1000
        if run_ms is not None and wait_ms is not None:
            metrics.RUN_MS.observe(run_ms)
            metrics.SEND_MS.observe(wait_ms)
        level = logging.DEBUG if isinstance(end, Succeeded) else logging.INFO
        if not _log.is_enabled_for(level):
            return
        _log.log(
            level,
            "attempt.ended",
            end=name,
            batch_id=held.lease.ref.flow.batch_id,
            seq=entry.position,
            run=entry.run,
            attempts=entry.attempts,
            connection=job.account.name,
            model=job.model,
            wait_ms=wait_ms and round(wait_ms, 1),
            run_ms=run_ms and round(run_ms, 1),
            in_tokens=entry.in_tokens,
            out_tokens=entry.out_tokens,
            code=getattr(end, "code", None),
        )


_NAMES: Mapping[type[AttemptEnd], str] = {
    Succeeded: "succeeded",
    Retry: "retry",
    Failed: "failed",
    LimitHit: "limit_hit",
    Fatal: "fatal",
}
_ENDED = {name: metrics.ATTEMPTS.labels(name) for name in _NAMES.values()}
