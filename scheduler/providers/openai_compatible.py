"""The OpenAI wire: chat completions, completions, embeddings, responses, at any base URL that speaks it."""

from __future__ import annotations

import time
from collections.abc import Callable

import aiohttp

from scheduler.domain.outcome import AttemptEnd, Failed, Retry
from scheduler.providers.bodies import build_body
from scheduler.providers.call import Call
from scheduler.providers.classify import classify
from scheduler.providers.wire import CONNECT_S, ResponseTooLarge, departing, read_bounded


class OpenAICompatible:
    """One HTTP POST a call. `wall_s`: the Unix clock, for dates in Retry-After."""

    def __init__(self, session: aiohttp.ClientSession, wall_s: Callable[[], float] = time.time) -> None:
        self._session = session
        self._wall_s = wall_s
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def send(self, call: Call) -> AttemptEnd:
        """Make the call. Raises TooLate (nothing was sent); every other trouble is an AttemptEnd."""
        try:
            body = build_body(call.request, call.endpoint, call.model, call.default_args)
        except ValueError:
            return Failed("The request is not a JSON object.", "INVALID_REQUEST")
        departing.set(call.departure)
        try:
            async with self._session.post(
                call.account.address.url_of(call.endpoint, call.model),
                data=body,
                headers=call.account.headers,
                timeout=self._timeout(call.timeout_s),
                allow_redirects=False,
            ) as response:
                answer = await read_bounded(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return classify(response.status, headers, answer, self._wall_s(), call.account.profile)
        except ResponseTooLarge:
            return Failed("The provider's answer is too large to keep.", "RESPONSE_TOO_LARGE")
        except TimeoutError:
            reason = f"No answer within {call.timeout_s:g} s."
            if call.departure.sent_s is None:
                reason = f"No connection within {min(CONNECT_S, call.timeout_s):g} s."
            return Retry(reason, "PROVIDER_TIMEOUT", transport=True)
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError):
            return Retry("The provider's answer broke off or is not HTTP.", "BAD_RESPONSE", transport=True)
        except aiohttp.InvalidURL:
            return Failed("The connection's base URL is not a URL.", "INVALID_BASE_URL")
        except (aiohttp.ClientError, OSError) as problem:
            return Retry(_unreachable(problem), "PROVIDER_UNREACHABLE", transport=True)

    def _timeout(self, total_s: float) -> aiohttp.ClientTimeout:
        """One object per length: resources have few different ones."""
        known = self._timeouts.get(total_s)
        if known is None:
            known = aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_S)
            self._timeouts[total_s] = known
        return known


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
