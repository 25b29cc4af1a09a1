"""What arrived and what became of it: the figures behind /stats, /calls and /timeline."""

import time
from collections import Counter, deque
from itertools import islice
from typing import Any, Final

from brim_server.simulator.judge import Judge
from brim_server.simulator.repeats import Repeats

CALLS_KEPT: Final = 50_000
CALLS_PAGE: Final = 10_000
SECONDS_KEPT: Final = 3_600
MODELS_KEPT: Final = 1_000
OTHER_MODELS: Final = "(others)"

RESET: Final = "reset"
ABANDONED: Final = "abandoned"
"""Statuses of calls that got no answer: we reset the connection, or the caller went away first."""


class Call:
    """One arrival. `status` is None while it runs, then an HTTP status, RESET or ABANDONED. `fault` names what we did
    to it on purpose; empty: nothing."""

    __slots__ = ("_ledger", "admitted", "arrival_us", "digest", "fault", "model", "number", "status", "tokens")

    def __init__(
        self, ledger: "Ledger", arrival_us: int, digest: bytes, model: str, tokens: int, admitted: bool
    ) -> None:
        self._ledger = ledger
        self.number = ledger.requests
        self.arrival_us = arrival_us
        self.digest = digest
        self.model = model
        self.tokens = tokens
        self.admitted = admitted
        self.status: int | str | None = None
        self.fault = ""

    def end(self, status: int | str) -> None:
        """It was answered, reset or left. Counted once; later ends are ignored."""
        if self.status is None:
            self.status = status
            self._ledger.ended(self)


class Ledger:
    """Memory is bounded: 60 s of arrivals for the judge, the newest calls, the last hour by seconds."""

    def __init__(self) -> None:
        self.judge = Judge()
        self.repeats = Repeats()
        self._calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self._seconds: deque[list[int]] = deque(maxlen=SECONDS_KEPT)
        self._statuses: Counter[int | str] = Counter()
        self._models: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self.requests = 0
        """All arrivals so far; the newest call's number."""
        self._admitted = 0
        self._tokens_charged = 0
        self._in_flight = 0
        self._max_in_flight = 0
        self._first_us: int | None = None
        self._last_us: int | None = None
        self._cpu_start_s = time.process_time()

    @property
    def in_flight(self) -> int:
        """Admitted calls that are not yet answered."""
        return self._in_flight

    def arrival(self, now_us: int, digest: bytes, model: str, tokens: int, admitted: bool) -> Call:
        """Book a call that arrived now: microseconds since 1970, never running backwards."""
        self.requests += 1
        call = Call(self, now_us, digest, model, tokens, admitted)
        self._calls.append(call)
        self._models[model if model in self._models or len(self._models) < MODELS_KEPT else OTHER_MODELS] += 1
        self.judge.arrival(now_us, tokens, admitted)
        self.repeats.arrival(digest)
        if self._first_us is None:
            self._first_us = now_us
        self._last_us = now_us
        second = self._second(now_us // 1_000_000)
        if admitted:
            self._admitted += 1
            self._tokens_charged += tokens
            self._in_flight += 1
            if self._in_flight > self._max_in_flight:
                self._max_in_flight = self._in_flight
            second[1] += 1
            second[2] += tokens
        else:
            second[3] += 1
        return call

    def refused(self, reason: str) -> None:
        """Count a refusal under its reason."""
        self._refusals[reason] += 1

    def ended(self, call: Call) -> None:
        """Count how a call of ours ended; for `Call.end` alone."""
        if call.status is None:
            return
        self._in_flight -= call.admitted
        self._statuses[call.status] += 1
        if call.status == 200:
            self.repeats.answered(call.digest)

    def stats(self) -> dict[str, Any]:
        """The figures. Times are seconds since 1970.

        `worst_minute` is over all arrivals, refused ones included; `refusals` tells the reason of each;
        `in_flight` counts admitted calls that are not yet answered; `cpu_s` is what this process used since
        the start or the last reset.
        """
        judge, repeats = self.judge, self.repeats
        return {
            "requests": self.requests,
            "admitted": self._admitted,
            "refused_429": self._statuses[429],
            "refusals": dict(self._refusals),
            "statuses": {str(status): count for status, count in sorted(self._statuses.items(), key=str)},
            "worst_minute": {"requests": judge.arrived.requests, "tokens": judge.arrived.tokens},
            "worst_minute_admitted": {"requests": judge.admitted.requests, "tokens": judge.admitted.tokens},
            "tokens_charged": self._tokens_charged,
            "duplicates": {
                "bodies": repeats.bodies,
                "repeats": repeats.repeats,
                "repeats_after_answer": repeats.after_answer,
                "is_full": repeats.is_full,
            },
            "first_call_at": _seconds(self._first_us),
            "last_call_at": _seconds(self._last_us),
            "in_flight": self._in_flight,
            "max_in_flight": self._max_in_flight,
            "models": dict(self._models),
            "cpu_s": round(time.process_time() - self._cpu_start_s, 6),
        }

    def calls(self, since: int) -> dict[str, Any]:
        """One page of the calls numbered above `since`; ask again from `next` until the page is empty.

        `first_kept` tells how far back we remember.
        """
        calls = self._calls
        first_kept = calls[0].number if calls else self.requests + 1
        start = max(0, since + 1 - first_kept)
        page = [
            (
                call.number,
                call.arrival_us / 1000,
                call.model,
                call.tokens,
                call.status,
                call.admitted,
                call.digest.hex(),
                call.fault,
            )
            for call in islice(calls, start, start + CALLS_PAGE)
        ]
        return {
            "columns": ["number", "arrival_ms", "model", "tokens", "status", "admitted", "body", "fault"],
            "calls": page,
            "next": page[-1][0] if page else since,
            "first_kept": first_kept,
        }

    def timeline(self) -> dict[str, Any]:
        """Seconds in which something arrived, oldest first; the gaps are seconds without arrivals."""
        return {
            "columns": ["second", "admitted_requests", "admitted_tokens", "refused_requests"],
            "seconds": list(self._seconds),
        }

    def _second(self, second: int) -> list[int]:
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0, 0])
        return self._seconds[-1]


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1_000_000
