"""One try of one callback over HTTP, to addresses that callbacks may reach."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from scheduler.services.callback_guard import literal_address, refusal_of_address, refusal_of_url

CONNECT_S = 10.0
READ_S = 30.0
ANSWER_BYTES = 16 * 1024
"""So much of an answer is read, to keep its connection; the rest does not interest us."""


class RefusedAddress(OSError):
    """A name resolves to an address that callbacks may not reach."""


class GuardedResolver(AbstractResolver):
    """Resolves as the system does, and refuses what the guard refuses: the check holds for the very
    address that is connected to, so a name cannot change its mind between check and use."""

    def __init__(self, allow_hosts: Collection[str]) -> None:
        self._allow_hosts = allow_hosts
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises RefusedAddress when one of them is not allowed."""
        found = await self._system.resolve(host, port, family)
        if host.rstrip(".").lower() in self._allow_hosts:
            return found
        for result in found:
            address = literal_address(result["host"])
            refusal = refusal_of_address(address) if address is not None else "an unreadable address"
            if refusal is not None:
                raise RefusedAddress(refusal)
        return found

    async def close(self) -> None:
        """Nothing to close."""
        await self._system.close()


def open_callback_session(allow_hosts: Collection[str]) -> aiohttp.ClientSession:
    """A session for callbacks; to be made inside the loop, and closed by the caller."""
    connector = aiohttp.TCPConnector(
        limit=0, resolver=GuardedResolver(allow_hosts), use_dns_cache=False, family=socket.AF_UNSPEC
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=CONNECT_S + READ_S, sock_connect=CONNECT_S, sock_read=READ_S),
    )


class Answer:
    """What a try brought: a status with Retry-After, or the reason why there is none.

    refused: the address is not allowed, no further try will change that.
    """

    __slots__ = ("headers", "problem", "refused", "status")

    def __init__(
        self,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        problem: str = "",
        *,
        refused: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers or {}
        self.problem = problem
        self.refused = refused


async def post_callback(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    allow_hosts: Collection[str],
) -> Answer:
    """Send one callback. Redirects are not followed; every trouble is an Answer."""
    refusal = refusal_of_url(url, allow_hosts)
    if refusal is not None:
        return Answer(problem=f"The callback URL is not allowed: {refusal}.", refused=True)
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            await response.content.read(ANSWER_BYTES)
            kept = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, kept)
    except TimeoutError:
        return Answer(problem="The receiver did not answer in time.")
    except (aiohttp.ClientError, OSError, ValueError) as problem:
        if _is_refusal(problem):
            return Answer(problem="The callback's host resolves to an address that is not allowed.", refused=True)
        return Answer(problem="The receiver could not be reached.")


def _is_refusal(problem: BaseException | None) -> bool:
    seen = 0
    while problem is not None and seen < 8:
        if isinstance(problem, RefusedAddress) or isinstance(getattr(problem, "os_error", None), RefusedAddress):
            return True
        problem, seen = problem.__cause__ or problem.__context__, seen + 1
    return False


def receiver_of(url: str) -> str:
    """ "host:port" of a callback URL, lower case, port always given: how the store names receivers."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{(parts.hostname or '').lower()}:{port}"
