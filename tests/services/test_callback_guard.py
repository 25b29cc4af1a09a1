"""Which addresses callbacks may reach."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scheduler.services.callers.callback_guard import literal_address, refusal_of_target, refusal_of_url


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1%25eth0]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "printer.local",
        "db.internal",
        "metadata.google.internal",
        "metadata",
    ],
)
def test_inner_addresses_are_refused_in_every_form(host: str) -> None:
    assert refusal_of_url(f"http://{host}/hook", ()) is not None


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1111]", "example.com", "1.2.3.4.5.example", "0x7f.example"])
def test_outer_addresses_are_accepted(host: str) -> None:
    assert refusal_of_url(f"https://{host}:8443/hook?x=1", ()) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://[::1",
        "http://example.com:99999",
        "http://exa mple.com",
        "http://example.com\\@127.0.0.1",
        "http://example.com/\n",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    assert refusal_of_url(url, ()) is not None


def test_credentials_do_not_hide_the_host() -> None:
    assert refusal_of_url("http://example.com@127.0.0.1/", ()) is not None
    assert refusal_of_url("http://127.0.0.1@example.com/", ()) is None


def test_allowed_hosts_are_allowed_by_name() -> None:
    assert refusal_of_url("http://127.0.0.1:9/x", {"127.0.0.1"}) is None
    assert refusal_of_url("http://LocalHost:9/x", {"localhost"}) is None
    assert refusal_of_url("http://127.0.0.2:9/x", {"127.0.0.1"}) is not None


def test_numbers_that_are_no_address_are_names() -> None:
    assert literal_address("4294967296") is None
    assert literal_address("1.2.3.4.5") is None
    assert literal_address("256.0.0.1") is None


async def test_names_are_judged_by_what_they_resolve_to() -> None:
    async def resolve(host: str) -> Sequence[str]:
        if host == "gone.example":
            raise OSError("no such name")
        return {"inner.example": ["8.8.8.8", "10.0.0.1"], "outer.example": ["8.8.8.8"]}[host]

    assert await refusal_of_target("http://inner.example/", (), resolve) is not None
    assert await refusal_of_target("http://inner.example/", {"inner.example"}, resolve) is None
    assert await refusal_of_target("http://outer.example/", (), resolve) is None
    assert await refusal_of_target("http://gone.example/", (), resolve) is None
