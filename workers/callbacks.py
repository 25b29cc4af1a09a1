"""One try of one callback over HTTP, to addresses that callbacks may reach."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from scheduler.services.callers.callback_guard import host_of, literal_address, refusal_of_address, refusal_of_url

CONNECT_S = 10.0
READ_S = 30.0
ANSWER_BYTES = 16 * 1024
"""So much of an answer is read, to keep its connection; the rest does not interest us."""


class RefusedAddress(OSError):
    """An address that callbacks may not reach."""


def _refuse(address_text: str) -> None:
    address = literal_address(address_text)
    refusal = refusal_of_address(address) if address is not None else "an unreadable address"
    if refusal is not None:
        raise RefusedAddress(refusal)


class GuardedResolver(AbstractResolver):
    """Resolves as the system does, and refuses a name of which one address is refused: the others may be bait."""

    def __init__(self, system: AbstractResolver) -> None:
        self._system = system

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises RefusedAddress when one of them is not allowed."""
        found = await self._system.resolve(host, port, family)
        for result in found:
            _refuse(result["host"])
        return found

    async def close(self) -> None:
        """Close the system's."""
        await self._system.close()


def _guarded_socket(target: aiohttp.AddrInfoType) -> socket.socket:
    """A socket for one address. Raises RefusedAddress. Nothing comes between this check and the connection, whatever
    the URL looked like and whoever resolved it."""
    family, kind, protocol, _, where = target
    _refuse(str(where[0]))
    return socket.socket(family, kind, protocol)


class CallbackSession:
    """Connections for callbacks: guarded ones, and others for hosts that are allowed by name. To be made inside the
    loop."""

    def __init__(self, allow_hosts: Collection[str], resolver: AbstractResolver | None = None) -> None:
        self._allow_hosts = frozenset(allow_hosts)
        self._guarded = _open(GuardedResolver(resolver or aiohttp.ThreadedResolver()), _guarded_socket)
        self._allowed = _open(aiohttp.ThreadedResolver(), None)

    def to(self, url: str) -> aiohttp.ClientSession:
        """Where to send to this URL. Raises RefusedAddress when its text alone says that we may not."""
        refusal = refusal_of_url(url, self._allow_hosts)
        if refusal is not None:
            raise RefusedAddress(refusal)
        return self._allowed if host_of(url) in self._allow_hosts else self._guarded

    async def close(self) -> None:
        """Close all connections."""
        await self._guarded.close()
        await self._allowed.close()


def _open(
    resolver: AbstractResolver, socket_factory: Callable[[aiohttp.AddrInfoType], socket.socket] | None
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, resolver=resolver, use_dns_cache=False, family=socket.AF_UNSPEC, socket_factory=socket_factory
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=CONNECT_S + READ_S, sock_connect=CONNECT_S, sock_read=READ_S),
    )


@asynccontextmanager
async def open_callback_session(
    allow_hosts: Collection[str], resolver: AbstractResolver | None = None
) -> AsyncIterator[CallbackSession]:
    """Connections for callbacks, closed afterwards. resolver: in place of the system's, for guarded ones."""
    session = CallbackSession(allow_hosts, resolver)
    try:
        yield session
    finally:
        await session.close()


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


async def post_callback(session: CallbackSession, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send one callback. Redirects are not followed; every trouble is an Answer."""
    try:
        door = session.to(url)
    except RefusedAddress as refusal:
        return Answer(problem=f"The callback URL is not allowed: {refusal}.", refused=True)
    try:
        async with door.post(url, data=body, headers=headers, allow_redirects=False) as response:
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
