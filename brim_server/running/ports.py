"""Ports and addresses to listen on."""

import socket

from brim_server.running.failure import StartFailed


def choose_port(host: str, port: int) -> int:
    """Return `port`, or a free one for 0. Raises StartFailed when it cannot be listened on.

    Another process can still take it before the API does; the API then fails with its own message.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise StartFailed(
            f"cannot listen on {host} port {port}: {error.strerror}; choose others with --host and --port "
            "(--port 0 picks a free one)"
        ) from error


def url_of(host: str, port: int) -> str:
    """Return the URL under which a process of this machine reaches a listener on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
