"""One HTTP POST to a provider; its troubles below HTTP as ends of the attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from scheduler.domain.outcome import AttemptEnd, Failed, Retry
from scheduler.providers.call import Call
from scheduler.providers.wire import CONNECT_S, ResponseTooLarge, departing, read_bounded


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back. headers: lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Poster:
    """Sends the bodies of calls; every adapter of a worker shares one."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def post(self, call: Call, url: str, body: bytes) -> HttpAnswer | AttemptEnd:
        """Make the call. Raises TooLate (nothing was sent); every other trouble is an AttemptEnd."""
        departing.set(call.departure)
        try:
            async with self._session.post(
                url,
                data=body,
                headers=call.account.headers,
                timeout=self._timeout(call.timeout_s),
                allow_redirects=False,
            ) as response:
                answer = await read_bounded(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpAnswer(response.status, headers, answer)
        except TROUBLE as problem:
            return end_of(problem, call)

    async def open(self, call: Call, url: str, body: bytes) -> aiohttp.ClientResponse | AttemptEnd:
        """Make the call and answer as soon as the head of its answer is there; the caller reads and closes it. Raises
        TooLate; every other trouble until then is an AttemptEnd."""
        departing.set(call.departure)
        try:
            return await self._session.post(
                url,
                data=body,
                headers=call.account.headers,
                timeout=self._timeout(call.timeout_s),
                allow_redirects=False,
            )
        except TROUBLE as problem:
            return end_of(problem, call)

    def _timeout(self, total_s: float) -> aiohttp.ClientTimeout:
        """One object per length: resources have few different ones."""
        known = self._timeouts.get(total_s)
        if known is None:
            known = aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_S)
            self._timeouts[total_s] = known
        return known


TROUBLE = (ResponseTooLarge, aiohttp.ClientError, OSError)
"""What may come of talking to a provider; TimeoutError is an OSError."""


def end_of(problem: Exception, call: Call) -> Retry | Failed:
    """Trouble below HTTP as the end of the attempt."""
    match problem:
        case ResponseTooLarge():
            return Failed("The provider's answer is too large to keep.", "RESPONSE_TOO_LARGE")
        case TimeoutError():
            reason = f"No answer within {call.timeout_s:g} s."
            if call.departure.sent_s is None:
                reason = f"No connection within {min(CONNECT_S, call.timeout_s):g} s."
            return Retry(reason, "PROVIDER_TIMEOUT", transport=True)
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            return Retry("The provider's answer broke off or is not HTTP.", "BAD_RESPONSE", transport=True)
        case aiohttp.InvalidURL():
            return Failed("The connection's base URL is not a URL.", "INVALID_BASE_URL")
        case _:
            return Retry(_unreachable(problem), "PROVIDER_UNREACHABLE", transport=True)


def _unreachable(problem: Exception) -> str:
    """Words for a user: no address, no internal text."""
    match problem:
        case aiohttp.ClientConnectorDNSError():
            return "The provider's host name does not resolve."
        case aiohttp.ClientSSLError():
            return "No secure connection to the provider: its certificate was not accepted."
        case aiohttp.ClientConnectorError():
            return "The provider refused the connection."
        case _:
            return "The connection to the provider broke before an answer came."
