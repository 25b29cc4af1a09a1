"""The provider: one call in, one outcome out. Knows no socket and no clock."""

import random
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from brim_server.simulator import answers, dialect, streams
from brim_server.simulator.bodies import (
    Body,
    Charge,
    Chat,
    Completion,
    Embedding,
    Moderation,
    Response,
    charge_of,
    seed_of,
    streamed,
)
from brim_server.simulator.door import Admitted, Door, Refused, TooLarge
from brim_server.simulator.ledger import Call, Ledger
from brim_server.simulator.options import Options
from brim_server.simulator.others import Others
from brim_server.simulator.script import Script, Strikes, script_of

GARBAGE: Final = b"<html><body>upstream connect error or disconnect/reset before headers</body></html>"
ODD: Final = rb"\u0000 \ud800 \udfff \uffff \\ \" \u2028"
"""JSON text that is legal and that text columns, encoders and line readers choke on."""


METERED: Final[dict[bytes, msgspec.json.Decoder[Any]]] = {
    b"/v1/chat/completions": msgspec.json.Decoder(Chat),
    b"/v1/completions": msgspec.json.Decoder(Completion),
    b"/v1/embeddings": msgspec.json.Decoder(Embedding),
    b"/v1/responses": msgspec.json.Decoder(Response),
    b"/v1/moderations": msgspec.json.Decoder(Moderation),
}
"""The endpoints that are limited and counted."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One whole request. `authorization` and `script` are header values, empty when absent."""

    method: bytes
    path: bytes
    body: bytes
    authorization: bytes = b""
    script: bytes = b""
    query: bytes = b""


class Reply(msgspec.Struct, frozen=True):
    """Answer so: `head` holds further header lines; `delay_s` from now. Whoever sends it ends `call`.

    is_stream: the body is events, each with its empty line."""

    status: int
    body: bytes
    head: bytes = b""
    delay_s: float = 0.0
    call: Call | None = None
    is_stream: bool = False


class Silence(msgspec.Struct, frozen=True):
    """Never answer."""

    call: Call


class Reset(msgspec.Struct, frozen=True):
    """Reset the connection after `delay_s`."""

    call: Call
    delay_s: float


Outcome = Reply | Silence | Reset

_Fault = Literal["none", "error", "hang", "reset", "garbage", "odd"]


class Provider:
    """One account at one provider: its limits, its faults and its ledger."""

    def __init__(self, options: Options, now_us: int) -> None:
        self.ledger = Ledger()
        self._strikes = Strikes()
        self._door = Door.of(options)
        self._use(options, now_us)

    def _use(self, options: Options, now_us: int) -> None:
        self.options = options
        self._random = random.Random(options.seed)
        self.others = Others(options, now_us)
        self._refuse_until_us = now_us + round(options.refuse_for_s * 1_000_000)
        self._bearer = None if options.api_key is None else b"Bearer " + options.api_key.encode()
        self._is_flawless = not any(rate for _, rate in _rates(options))

    def change(self, options: Options, now_us: int) -> None:
        """Go on with other options. Meters start anew only where a limit or its shape changed."""
        if any(getattr(options, name) != getattr(self.options, name) for name in _METER_OPTIONS):
            self._door = Door.of(options)
        self._use(options, now_us)

    def begin_ledger(self) -> None:
        """Forget all figures. Calls in flight are not part of the new ones."""
        self.ledger = Ledger()

    def call(self, request: Request, now_us: int) -> Outcome:
        """Deal with a POST to one of METERED that arrived whole at `now_us`.

        `now_us` is microseconds since 1970 and never runs backwards.
        """
        digest = sha256(request.body).digest()[:16]
        options = self.options
        if self._bearer is not None and request.authorization != self._bearer:
            return self._invalid(now_us, digest, "", 401, dialect.scripted_error(401, None, None))
        model = ""
        try:
            body: Body = METERED[request.path].decode(request.body)
            model = body.model
            streamed(body)
            charge = charge_of(body, options)
            script = script_of(body.brim_sim, body.metadata, request.script)
        except (
            ValueError,
            OverflowError,
        ) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
            return self._invalid(now_us, digest, model, 400, dialect.invalid_request(str(error)))
        if now_us < self._refuse_until_us:
            return self._refuse_all(now_us, digest, body, charge)
        is_struck = script is not None and self._strikes.is_due(script, digest)
        if script is not None and is_struck and script.status == 429:
            self._strikes.struck(script, digest)
            call = self._book(now_us, digest, body, charge, "scripted")
            return self._scripted(script, 429, call)
        self.others.until(now_us, self._door)
        match self._door.ask(charge.tokens, now_us):
            case Admitted():
                call = self.ledger.arrival(now_us, digest, model, charge.tokens, True)
                if script is not None and is_struck:
                    self._strikes.struck(script, digest)
                    return self._strike(script, call, now_us)
                return self._serve(body, charge, seed_of(request.body), script, call, now_us)
            case Refused() as refused:
                call = self._book(now_us, digest, body, charge, refused.dimension)
                head = dialect.retry_after_headers(refused.retry_after_us, options.retry_after)
                return Reply(429, dialect.limit_reached(model, refused), self._head(now_us) + head, 0.0, call)
            case TooLarge() as too_large:
                call = self._book(now_us, digest, body, charge, "too_large")
                return Reply(429, dialect.request_too_large(model, too_large), self._head(now_us), 0.0, call)

    def _serve(
        self, body: Body, charge: Charge, seed: bytes, script: Script | None, call: Call, now_us: int
    ) -> Outcome:
        delay_s = self._delay_s(script)
        fault: _Fault = "none" if self._is_flawless else self._draw()
        if fault != "none":
            call.fault = fault
        match fault:
            case "none":
                wanted = None if script is None else script.completion_tokens
                answer, is_stream = _answered(body, charge, seed, wanted)
                return Reply(200, answer, self._head(now_us), delay_s, call, is_stream)
            case "error":
                return Reply(500, dialect.scripted_error(500, None, None), self._head(now_us), delay_s, call)
            case "hang":
                return Silence(call)
            case "reset":
                return Reset(call, delay_s)
            case "garbage":
                return Reply(200, GARBAGE, self._head(now_us), delay_s, call)
            case "odd":
                plain, is_stream = _answered(body, charge, seed, None)
                odd = plain.replace(b'"content":"', b'"content":"' + ODD, 1)
                return Reply(200, odd, self._head(now_us), delay_s, call, is_stream)

    def _strike(self, script: Script, call: Call, now_us: int) -> Outcome:
        call.fault = "hang" if script.hang else "reset" if script.reset else "garbage" if script.garbage else "error"
        if script.hang:
            return Silence(call)
        if script.reset:
            return Reset(call, self._delay_s(script))
        if script.garbage:
            return Reply(200, GARBAGE, self._head(now_us), self._delay_s(script), call)
        return self._scripted(script, script.status or 500, call)

    def _scripted(self, script: Script, status: int, call: Call) -> Reply:
        head = b""
        if script.retry_after_ms is not None:
            head = dialect.retry_after_headers(script.retry_after_ms * 1000, self.options.retry_after)
        body = dialect.scripted_error(status, script.code, script.message)
        return Reply(status, body, head, self._delay_s(script), call)

    def _refuse_all(self, now_us: int, digest: bytes, body: Body, charge: Charge) -> Reply:
        options = self.options
        call = self._book(now_us, digest, body, charge, "refuse_all")
        head = b""
        if options.refuse_retry_after_ms is not None:
            head = dialect.retry_after_headers(options.refuse_retry_after_ms * 1000, options.retry_after)
        error = dialect.scripted_error(options.refuse_status, options.refuse_code, None)
        return Reply(options.refuse_status, error, head, 0.0, call)

    def _invalid(self, now_us: int, digest: bytes, model: str, status: int, error: bytes) -> Reply:
        """A request that never reached the limiter: an arrival all the same."""
        return Reply(status, error, b"", 0.0, self.ledger.arrival(now_us, digest, model, 0, False))

    def _book(self, now_us: int, digest: bytes, body: Body, charge: Charge, refusal: str) -> Call:
        self.ledger.refused(refusal)
        return self.ledger.arrival(now_us, digest, body.model, charge.tokens, False)

    def _head(self, now_us: int) -> bytes:
        return dialect.rate_headers(self._door.rates(now_us)) if self.options.rate_headers else b""

    def _delay_s(self, script: Script | None) -> float:
        if script is not None and script.latency_ms is not None:
            return script.latency_ms / 1000
        options = self.options
        delay_ms = options.latency_ms
        if options.latency_jitter_ms:
            delay_ms += self._random.random() * options.latency_jitter_ms
        if options.parallel is not None:
            delay_ms *= max(1.0, self.ledger.in_flight / options.parallel)
        return delay_ms / 1000

    def _draw(self) -> _Fault:
        drawn = self._random.random()
        for fault, rate in _rates(self.options):
            if drawn < rate:
                return fault
            drawn -= rate
        return "none"


def _answered(body: Body, charge: Charge, seed: bytes, wanted: int | None) -> tuple[bytes, bool]:
    """(body of the 200, whether it is events)."""
    asks_for_events = streamed(body)
    if asks_for_events is not None:
        return streams.events(asks_for_events, charge, seed, wanted), True
    return answers.answer(body, charge, seed, wanted), False


def _rates(options: Options) -> tuple[tuple[_Fault, float], ...]:
    return (
        ("error", options.error_rate),
        ("hang", options.hang_rate),
        ("reset", options.reset_rate),
        ("garbage", options.garbage_rate),
        ("odd", options.odd_rate),
    )


_METER_OPTIONS: Final = ("rpm", "tpm", "shape", "bucket_s", "slice_s")
