"""Direct calls: one request, admitted by the budgets that bind it, made here, and answered in the same call."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

import msgspec
import structlog

from scheduler import metrics
from scheduler.domain.direct import Admitted, DirectAsk, Exceeds, Refused, Undefined, Waits
from scheduler.domain.errors import BadParameter, InvariantBroken, Unavailable
from scheduler.domain.ids import uuid7
from scheduler.domain.outcome import AttemptEnd, Failed, Fatal, FatalScope, LimitHit, Refusal, Retry, Succeeded, Usage
from scheduler.domain.setup import Provider
from scheduler.domain.work import Refund
from scheduler.providers import noop
from scheduler.providers.call import Account, Adapter, Call, TooLate
from scheduler.providers.charging import charged_tokens
from scheduler.providers.streaming import OpenStream, StreamBroken, Streaming
from scheduler.services.budgets.limits import key_budgets, queue_ref
from scheduler.services.callers.tenants import Tenants
from scheduler.services.direct.binding import DirectBinding
from scheduler.services.direct.feedback import DirectFeedback, Shut
from scheduler.services.direct.leases import DirectLeases, HeldCall
from scheduler.services.direct.line import DirectLine
from scheduler.services.direct.request import DirectRequest
from scheduler.services.setup.catalog import Catalog, Served

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """A good answer. headers: lower-case names, those of the provider that callers may see."""

    body: bytes
    headers: Mapping[str, str]
    wait_ms: float


@dataclass(frozen=True, slots=True)
class Streamed:
    """A good answer that is on its way. To be closed, also when `pieces` was never begun or came to its end."""

    pieces: AsyncIterator[bytes]
    headers: Mapping[str, str]
    wait_ms: float
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Busy:
    """It cannot start within the time it may wait. wait_ms: when it could; budget: what binds it."""

    wait_ms: int
    budget: str


@dataclass(frozen=True, slots=True)
class NotServed:
    """No target could serve it: how the last attempt ended."""

    end: Retry | Failed | Fatal
    refusal: Refusal | None = field(default=None, repr=False)


DirectAnswer = Answered | Streamed | Busy | Shut | NotServed
"""What came of a direct call; closed."""


@dataclass(slots=True)
class _Progress:
    """How far a call has come: where it may go next, how long it may still wait, how long it has."""

    until_s: float
    target: int = 0
    wait_ms: float = 0.0


class DirectCalls:
    """Runs direct calls in this process. clock: monotonic seconds."""

    def __init__(
        self,
        tenants: Tenants,
        catalog: Catalog,
        binding: DirectBinding,
        line: DirectLine,
        leases: DirectLeases,
        adapter: Adapter,
        streaming: Streaming,
        feedback: DirectFeedback,
        clock: Callable[[], float],
        *,
        allow_noop: bool,
    ) -> None:
        self._tenants = tenants
        self._catalog = catalog
        self._binding = binding
        self._line = line
        self._leases = leases
        self._adapter = adapter
        self._streaming = streaming
        self._feedback = feedback
        self._clock = clock
        self._allow_noop = allow_noop

    async def run(self, request: DirectRequest, max_wait_s: float) -> DirectAnswer:
        """Make the call. Cancelled, it leaves the line or breaks the call off; what was sent stays charged.

        Raises BadParameter for a request that no budget can ever admit, Unavailable when Redis or Postgres is away.
        """
        progress = _Progress(self._clock() + max_wait_s)
        try:
            answer = await self._run(request, progress)
        except asyncio.CancelledError:
            metrics.DIRECT_CALLS.labels("cancelled").inc()
            raise
        match answer:
            case Busy() | Shut():
                metrics.DIRECT_CALLS.labels("refused").inc()
            case NotServed():
                metrics.DIRECT_CALLS.labels("failed").inc()
            case Answered() | Streamed():
                metrics.DIRECT_CALLS.labels("answered").inc()
                metrics.DIRECT_WAIT_MS.observe(progress.wait_ms)
            case _:
                assert_never(answer)
        return answer

    async def _run(self, request: DirectRequest, progress: _Progress) -> DirectAnswer:
        shard = await self._tenants.shard_of(request.key.environment_id)
        await self._refresh(request)  # now, because an admitted call must leave at once
        while True:
            arrived_s = self._clock()
            admission = await self._enter(shard, request, progress)
            progress.wait_ms += (self._clock() - arrived_s) * 1000
            if isinstance(admission, Refused):
                if admission.shut:
                    return await self._feedback.why_shut(request.key.environment_id, admission)
                return Busy(admission.wait_ms, admission.budget)
            self._leases.hold(admission)
            answer = await self._attempt(admission, request, progress)
            if answer is not None:
                return answer

    async def _refresh(self, request: DirectRequest) -> None:
        """At once when the request was read by a newer resource than the catalog knows."""
        await self._catalog.refresh()
        served = self._catalog.resource(request.resource.resource_id)
        if served is None or served.resource.version < request.resource.version:
            await self._catalog.refresh(max_age_s=0.0)

    async def _enter(self, shard: int, request: DirectRequest, progress: _Progress) -> HeldCall | Refused:
        ask = DirectAsk(
            queue=queue_ref(request.key.workspace_id, request.key.environment_id, request.resource.resource_id),
            ticket=uuid7(time.time_ns() // 1_000_000, os.urandom(10)).hex,
            in_tokens=request.in_tokens,
            out_tokens=request.out_tokens,
            budgets=tuple(budget.budget_id for budget in key_budgets(request.key, request.key.caller)),
            first_target=progress.target,
        )
        await self._binding.bind_caller(shard, request)
        for bound in (False, True):
            answer = await self._line.enter(shard, ask, max(0.0, progress.until_s - self._clock()))
            match answer:
                case HeldCall() | Refused():
                    return answer
                case Exceeds():
                    raise BadParameter(
                        f"The request needs about {request.in_tokens + request.out_tokens} tokens, more than a limit"
                        " that binds it ever admits.",
                        reason="request_too_large",
                    )
                case Undefined():
                    if not bound:
                        await self._binding.bind(shard, request)
                case Admitted() | Waits():
                    raise InvariantBroken("the line answers leases")
                case _:
                    assert_never(answer)
        raise Unavailable("The limits of this model are not known to the scheduler yet.", retry_after_s=1.0)

    async def _attempt(
        self, held: HeldCall, request: DirectRequest, progress: _Progress
    ) -> Answered | Streamed | Shut | NotServed | None:
        """One attempt on the target of the lease. None: to be tried again, as `progress` says."""
        try:
            await self._refresh(request)
            served, account = self._target(held, request)
            call = self._call(held, request, served, account)
            if request.streamed:
                end: AttemptEnd | OpenStream = await self._streaming.open(call)
            elif account.provider is Provider.NOOP:
                held.sent_s = self._clock()
                end = noop.answer()
            else:
                end = await self._adapter.send(call)
        except TooLate:
            self._leases.give_up(held, Refund.ALL)
            return None
        except BaseException:
            self._leases.give_up(held, Refund.ALL if held.sent_s is None else Refund.NOTHING)
            raise
        match end:
            case OpenStream():
                self._feedback.opened(held.shard, account, call.model, held, end)
                return self._streamed(held, account, call.model, end, progress.wait_ms)
            case Succeeded():
                self._feedback.ended(held.shard, account, call.model, held, end)
                self._charge(held, account, end.usage)
                return Answered(end.body, _shown(end.headers), progress.wait_ms)
            case _:
                self._feedback.ended(held.shard, account, call.model, held, end)
                return await self._failed(held, account, call.model, end, request, progress)

    def _target(self, held: HeldCall, request: DirectRequest) -> tuple[Served, Account]:
        served = self._catalog.resource(request.resource.resource_id)
        if served is None or held.lease.target >= len(served.resource.targets):
            raise Unavailable("The model has just been changed; try again.", retry_after_s=1.0)
        account = self._catalog.account(served.resource.targets[held.lease.target].connection_id)
        if account is None or (account.provider is Provider.NOOP and not self._allow_noop):
            raise Unavailable("The connection of this model cannot be used here.", retry_after_s=10.0)
        return served, account

    def _call(self, held: HeldCall, request: DirectRequest, served: Served, account: Account) -> Call:
        return Call(
            account=account,
            endpoint=request.endpoint,
            model=served.resource.targets[held.lease.target].model,
            request=request.body,
            default_args=served.default_args,
            timeout_s=served.resource.timeout_ms / 1000,
            departure=held,
        )

    def _streamed(self, held: HeldCall, account: Account, model: str, stream: OpenStream, wait_ms: float) -> Streamed:
        pieces = self._passed_on(held, account, model, stream)

        async def close() -> None:
            await pieces.aclose()
            self._leases.give_up(held, Refund.NOTHING)  # it was never begun; harmless after any other end
            stream.close()

        return Streamed(pieces, _shown(stream.headers), wait_ms, close)

    async def _passed_on(
        self, held: HeldCall, account: Account, model: str, stream: OpenStream
    ) -> AsyncGenerator[bytes, None]:
        """The stream, ended in the books however it ends. What breaks off is told as an event of the stream."""
        try:
            async for piece in stream.pieces():
                yield piece
            usage = stream.usage or Usage(None, None)
            self._charge(held, account, usage)
            self._feedback.streamed(held.shard, account, model, held, usage)
        except StreamBroken as broken:
            _log.info("direct.stream_broken", connection=account.name, code=broken.end.code)
            self._leases.give_up(held, Refund.NOTHING)
            yield broken_off(broken.end.reason)
        finally:
            self._leases.give_up(held, Refund.NOTHING)  # the caller went away; harmless after any other end
            stream.close()

    def _charge(self, held: HeldCall, account: Account, usage: Usage) -> None:
        entry = held.lease.entry
        self._leases.charge(held, *charged_tokens(account.profile, entry.in_tokens, entry.out_tokens, usage))

    async def _failed(
        self,
        held: HeldCall,
        account: Account,
        model: str,
        end: Retry | Failed | Fatal | LimitHit,
        request: DirectRequest,
        progress: _Progress,
    ) -> Shut | NotServed | None:
        """What follows from an attempt that brought nothing. None: to be tried again."""
        refund = Refund.ALL if account.profile.failed_calls_free or held.sent_s is None else Refund.NOTHING
        _log.info(
            "direct.attempt_failed",
            connection=account.name,
            end=type(end).__name__,
            code=getattr(end, "code", None),
            ticket=held.lease.ref.flow.batch_id,
        )
        answer: Shut | NotServed
        match end:
            case LimitHit():
                await self._feedback.limit(held.shard, account, model, end)
                self._leases.give_up(held, refund)
                return None
            case Fatal(scope=FatalScope.CONNECTION | FatalScope.MODEL):
                answer = await self._feedback.park(held.shard, account, model, end)
            case Retry() | Failed() | Fatal():
                answer = NotServed(end, end.refusal)
            case _:
                assert_never(end)
        self._leases.give_up(held, refund)
        progress.target = held.lease.target + 1
        return answer if progress.target >= len(request.resource.targets) else None


def broken_off(reason: str) -> bytes:
    """The last event of a stream whose provider fell silent: OpenAI's clients raise it as an error."""

    error = {"message": reason, "type": "server_error", "param": None, "code": "stream_broken"}
    return b"\n\ndata: " + msgspec.json.encode({"error": error}) + b"\n\n"


def _shown(headers: Mapping[str, str]) -> dict[str, str]:
    """What callers see of the provider's headers: its limits are the connection's, not theirs."""
    names = ("content-type", "x-request-id", "request-id", "openai-processing-ms", "openai-version")
    return {name: headers[name] for name in names if name in headers}
