"""Which addresses callbacks may reach: never private, loopback, link-local or metadata ones, unless
allowed by name.

Creation checks the literal address and known names, and what a name resolves to then; the sender asks
`refusal_of_address` again for the address that it really connects to. What is checked is the host as clients read it:
they fold characters of other widths and scripts into ASCII before they look for an address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import unicodedata
from collections.abc import Awaitable, Callable, Collection, Sequence
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""From a host name to the text of its addresses; raises OSError when it does not resolve."""

_LOCAL_NAMES = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home.arpa")
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254")
)
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_EMBEDDING = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
_URL_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9_])?\.?|[0-9a-f:.]+(%[a-z0-9._~-]+)?")
_STOPS = str.maketrans("\u3002\uff0e\uff61", "...")


def literal_address(host: str) -> Address | None:
    """The address that a host text stands for, in every form that resolvers take: dotted, one to four
    decimal, octal (0…) or hexadecimal (0x…) numbers, IPv6 with or without brackets and zone. None: it is a
    name."""
    text = _folded(host).strip().strip("[]").rstrip(".").split("%", 1)[0]
    if ":" in text:
        try:
            return ipaddress.IPv6Address(text)
        except ValueError:
            return None
    parts = text.split(".")
    if not 1 <= len(parts) <= 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = [_number(part) for part in parts]
    *leading, last = numbers
    if any(number > 255 for number in leading) or last >= 256 ** (5 - len(numbers)):
        return None
    value = last
    for position, number in enumerate(leading):
        value |= number << 8 * (3 - position)
    return ipaddress.IPv4Address(value)


def _folded(host: str) -> str:
    """A host as clients read it: full-width digits, circled letters and foreign full stops are the plain ones."""
    return unicodedata.normalize("NFKC", host.translate(_STOPS)).translate(_STOPS).lower()


def host_of(url: str) -> str:
    """The host of a URL, as it is compared with those that are allowed by name. Raises ValueError for no URL."""
    return _folded(urlsplit(url).hostname or "").strip("[]").rstrip(".")


def _number(text: str) -> int:
    if text[:2].lower() == "0x":
        return int(text[2:] or "0", 16)
    if len(text) > 1 and text[0] == "0" and all(digit in "01234567" for digit in text):
        return int(text, 8)
    return int(text)


def refusal_of_address(address: Address) -> str | None:
    """Why callbacks may not go to this address; None when they may."""
    inner = _embedded(address)
    if inner is not None:
        return refusal_of_address(inner)
    if address in _METADATA_ADDRESSES:
        return f"{address} is a metadata service"
    if address.is_global and not address.is_multicast and not address.is_reserved:
        return None
    return f"{address} is a private, loopback, link-local or reserved address"


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside an IPv6 one: mapped, 6to4, NAT64 or the old compatible form."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if int(address) > 0xFFFF and any(address in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def refusal_of_host(host: str, allow_hosts: Collection[str]) -> str | None:
    """Why a callback may not go to this host, as far as its text tells; None when it may (or a name must
    be resolved)."""
    name = _folded(host).strip("[]").rstrip(".")
    if name in allow_hosts:
        return None
    address = literal_address(host)
    if address is not None:
        return refusal_of_address(address)
    if name in _METADATA_NAMES:
        return f"{name} is a metadata service"
    if any(name == local or name.endswith("." + local) for local in _LOCAL_NAMES):
        return f"{name} is a local name"
    return None


def refusal_of_url(url: str, allow_hosts: Collection[str]) -> str | None:
    """Why this is no callback URL that we would call, as far as its text tells; None when it is one."""
    if _URL_CHARACTERS.search(url):
        return "it holds a space, a control character or a backslash"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is not a URL"
    if parts.scheme not in ("http", "https"):
        return "it must begin with http:// or https://"
    if not host:
        return "it names no host"
    if not _HOST.fullmatch(_ascii(_folded(host))):
        return "its host is neither a name nor an address"
    return refusal_of_host(host, allow_hosts)


def _ascii(host: str) -> str:
    """The form of an international name that is resolved; unchanged when there is none."""
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return host


async def resolve_host(host: str) -> Sequence[str]:
    """The addresses that the system's resolver gives for a name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def refusal_of_target(
    url: str, allow_hosts: Collection[str], resolve: Resolve = resolve_host, timeout_s: float = 2.0
) -> str | None:
    """Like refusal_of_url, and also what the host's name resolves to now. A name that does not resolve (in
    time) is accepted: the address is checked again at connect time."""
    refusal = refusal_of_url(url, allow_hosts)
    if refusal is not None:
        return refusal
    host = host_of(url)
    if host in allow_hosts or literal_address(host) is not None:
        return None
    try:
        async with asyncio.timeout(timeout_s):
            texts = await resolve(host)
    except (OSError, UnicodeError, TimeoutError):
        return None
    addresses = [address for address in map(literal_address, texts) if address is not None]
    return next((why for why in map(refusal_of_address, addresses) if why is not None), None)
