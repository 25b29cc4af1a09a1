"""What BRIM_REDIS_URL says: one server, or the first addresses of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

CLUSTER_SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
"""Scheme of a cluster's URL → that of its nodes' URLs."""
DEFAULT_PORT = 6379

Address = tuple[str, int]
"""Host and port of a node."""


@dataclass(frozen=True, slots=True)
class ClusterUrl:
    """A cluster: addresses to ask first, and what the URLs of all its nodes have in common."""

    scheme: str
    user_part: str
    seeds: tuple[Address, ...]
    query: str

    def node_url(self, address: Address) -> str:
        """The URL of one node as redis-py takes it."""
        host, port = address
        shown = f"[{host}]" if ":" in host else host
        return urlunsplit((self.scheme, f"{self.user_part}{shown}:{port}", "", self.query, ""))


def read_url(url: str) -> ClusterUrl | None:
    """The parts of `redis+cluster://[user:password@]host:port[,host:port…][?options]` (rediss+cluster: with TLS).
    None for any other URL, which is redis-py's to read. Raises ValueError with what is wrong, never with a password.
    """
    parts = urlsplit(url)
    scheme = CLUSTER_SCHEMES.get(parts.scheme)
    if scheme is None:
        return None
    if parts.path.strip("/0"):
        raise ValueError("a cluster has database 0 only; leave the path of its URL empty")
    user, at, hosts = parts.netloc.rpartition("@")
    return ClusterUrl(scheme, user + at, tuple(_address(host) for host in hosts.split(",")), parts.query)


def _address(text: str) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ValueError(f"a cluster's URL names its nodes as host:port, separated by commas, not {text!r}")
    return host, port or DEFAULT_PORT
