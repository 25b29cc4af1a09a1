"""No callback reaches an inner address, however it is written: refused at creation, and again at its connection."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from scheduler.services.callers.callback_guard import refusal_of_target, refusal_of_url
from tests.inner_addresses import FORMS
from workers.callbacks import RefusedAddress, open_callback_session, post_callback

ANSWERS = {
    "private": "10.0.0.7",
    "loopback": "127.0.0.1",
    "metadata": "169.254.169.254",
    "mapped": "::ffff:10.0.0.7",
    "NAT64": "64:ff9b::a00:7",
    "6to4": "2002:a00:7::",
    "unique local": "fd00::7",
    "loopback of IPv6": "::1",
    "unspecified": "0.0.0.0",
}
OUTER = "93.184.216.34"
PUBLIC = "http://receiver.example/"
"""Not refused by its text: it goes through the guarded connections."""


class Listening(AbstractResolver):
    """Every name is what the test says, one answer after the other; the last one stays."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        found = []
        for each in text.split():
            kind = socket.AF_INET6 if ":" in each else socket.AF_INET
            found.append(ResolveResult(hostname=host, host=each, port=port, family=kind, proto=0, flags=0))
        return found

    async def close(self) -> None:
        return


@dataclass
class Inner:
    """A service on loopback that nobody may reach, at every address of this machine."""

    port: int = 0
    visits: list[str] = field(default_factory=list)


@pytest.fixture
async def inner() -> AsyncIterator[Inner]:
    inner = Inner()

    def visited(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner.visits.append(str(writer.get_extra_info("peername")))
        writer.close()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    inner.port = server.sockets[0].getsockname()[1]
    async with server:
        yield inner
    assert inner.visits == []


@pytest.mark.parametrize("form", FORMS)
def test_an_inner_address_is_refused_at_creation(form: str) -> None:
    assert refusal_of_url(f"http://{FORMS[form]}:8080/hook", ()) is not None


@pytest.mark.parametrize("form", FORMS)
async def test_an_inner_address_is_refused_where_it_is_sent(form: str, inner: Inner) -> None:
    async with open_callback_session(()) as session:
        answer = await post_callback(session, f"http://{FORMS[form]}:{inner.port}/hook", b"{}", {})
    assert (answer.refused, answer.status) == (True, None)


@pytest.mark.parametrize("form", FORMS)
async def test_an_inner_address_is_refused_where_it_is_connected_to(form: str, inner: Inner) -> None:
    """Without the look at the URL's text: the connection itself must not come about."""
    resolver = Listening("127.0.0.1")
    async with open_callback_session((), resolver) as session:
        with pytest.raises((aiohttp.ClientError, OSError)) as raised:
            await session.to(PUBLIC).post(f"http://{FORMS[form]}:{inner.port}/hook", data=b"{}")
    assert isinstance(raised.value, aiohttp.InvalidURL) or any(
        isinstance(each, RefusedAddress) for each in causes(raised.value)
    )


def causes(problem: BaseException) -> Iterator[BaseException]:
    """An error and what led to it."""
    found: BaseException | None = problem
    while found is not None:
        yield found
        found = getattr(found, "os_error", None) or found.__cause__ or found.__context__


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_name_is_judged_by_what_it_resolves_to(name: str, inner: Inner) -> None:
    async def resolve(_host: str) -> list[str]:
        return [ANSWERS[name]]

    assert await refusal_of_target("https://receiver.example/hook", (), resolve) is not None
    async with open_callback_session((), Listening(ANSWERS[name])) as session:
        answer = await post_callback(session, f"http://receiver.example:{inner.port}/hook", b"{}", {})
    assert answer.refused


async def test_a_name_that_changes_its_mind_is_refused_when_it_is_connected_to(inner: Inner) -> None:
    names = Listening(OUTER, "127.0.0.1")

    async def resolve(host: str) -> list[str]:
        return [each["host"] for each in await names.resolve(host)]

    url = f"http://rebinding.example:{inner.port}/hook"
    assert await refusal_of_target(url, (), resolve) is None
    async with open_callback_session((), names) as session:
        answer = await post_callback(session, url, b"{}", {})
    assert answer.refused


async def test_one_inner_address_among_outer_ones_spoils_a_name(inner: Inner) -> None:
    async with open_callback_session((), Listening(f"{OUTER} 127.0.0.1")) as session:
        answer = await post_callback(session, f"http://mixed.example:{inner.port}/hook", b"{}", {})
    assert answer.refused


@asynccontextmanager
async def redirecting(target: str) -> AsyncIterator[str]:
    async def redirect(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": target})

    application = web.Application()
    application.router.add_post("/hook", redirect)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http://169.254.169.254/"])
async def test_a_redirect_leads_nowhere(target: str, inner: Inner) -> None:
    async with (
        redirecting(target.format(port=inner.port)) as url,
        open_callback_session({"127.0.0.1"}) as session,
    ):
        answer = await post_callback(session, url, b"{}", {})
    assert answer.status == 302


async def test_a_host_is_allowed_by_its_name_and_in_no_other_spelling(inner: Inner) -> None:
    async with open_callback_session({"localhost"}) as session:
        assert (await post_callback(session, f"http://127.0.0.1:{inner.port}/", b"{}", {})).refused
        assert (await post_callback(session, f"http://127.1:{inner.port}/", b"{}", {})).refused
        assert session.to(f"http://LOCALHOST.:{inner.port}/") is not session.to(PUBLIC)


def test_outer_addresses_of_every_form_are_accepted() -> None:
    number = int(ipaddress.IPv4Address(OUTER))
    names = ("receiver.example", "bücher.example", "a_b.example")
    for host in (OUTER, str(number), hex(number), "[2606:4700::1111]", *names):
        assert refusal_of_url(f"https://{host}/hook", ()) is None, host
