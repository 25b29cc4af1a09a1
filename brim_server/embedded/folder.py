"""The data folder: one owner at a time, private, and a place for sockets whose path is short enough."""

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from pathlib import Path

from brim_server.embedded.refusal import EmbeddedRefused

_MAX_SOCKET_PATH_BYTES = 100
"""`sun_path` holds 104 bytes on macOS and 108 on Linux, the closing zero included."""
_LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
_PREDECESSOR_GRACE_S = 10.0
_POLL_S = 0.05


class DataFolder:
    """A folder that only one `brim-server up` uses at a time.

    The lock is a `flock` on an open file that the embedded servers inherit. So it is held as long as any of
    them lives, also when their parent was killed, and whoever has it knows that every pid file in the folder
    is stale.
    """

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is made or locked before `acquire`."""
        self.path = path.expanduser().resolve()
        self._lock_fd: int | None = None
        self._sockets: Path | None = None

    @property
    def lock_fd(self) -> int:
        """The descriptor that children inherit. Only valid while acquired."""
        if self._lock_fd is None:
            raise RuntimeError("the data folder is not acquired")
        return self._lock_fd

    def acquire(self) -> None:
        """Make the folder (0700) and lock it.

        Waits up to 10 s for the servers of a killed predecessor to end. Raises EmbeddedRefused when another
        process uses the folder or when it cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmbeddedRefused(f"the data folder {self.path} cannot be used: {error.strerror}") from error
        try:
            self._lock(fd)
        except BaseException:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = fd

    def _lock(self, fd: int) -> None:
        deadline = time.monotonic() + _PREDECESSOR_GRACE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner_pid = _read_pid(fd)
                if owner_pid is not None and _alive(owner_pid):
                    raise EmbeddedRefused(
                        f"the data folder {self.path} is in use by process {owner_pid}; stop that one first "
                        "or choose another with --data-dir"
                    ) from None
                if time.monotonic() > deadline:
                    raise EmbeddedRefused(
                        f"the data folder {self.path} is still used by the servers of a run that was killed; "
                        f"end the processes that hold {self.path / 'lock'} open"
                    ) from None
                time.sleep(_POLL_S)
            else:
                return

    def release(self) -> None:
        """Unlock, and remove the folder for sockets if it is not inside. Harmless when not acquired."""
        if self._sockets is not None and self._sockets.parent != self.path:
            for leftover in self._sockets.iterdir():
                leftover.unlink()
            self._sockets.rmdir()
        self._sockets = None
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def sockets(self) -> Path:
        """Return the folder for sockets: `run` inside, or a short private one if that path is too long.

        Raises EmbeddedRefused when the short one exists and belongs to someone else.
        """
        if self._sockets is None:
            inside = self.path / "run"
            longest = os.fsencode(inside / _LONGEST_SOCKET_NAME)
            if len(longest) <= _MAX_SOCKET_PATH_BYTES:
                inside.mkdir(mode=0o700, exist_ok=True)
                self._sockets = inside
            else:
                self._sockets = _private(self._short())
        return self._sockets

    def _short(self) -> Path:
        # Always the same name for the same folder, so that a killed run leaves at most this one behind.
        digest = hashlib.sha256(f"{os.geteuid()}:{self.path}".encode()).hexdigest()[:12]
        for base in (tempfile.gettempdir(), "/tmp"):
            short = Path(base) / f"brim-{digest}"
            if len(os.fsencode(short / _LONGEST_SOCKET_NAME)) <= _MAX_SOCKET_PATH_BYTES:
                return short
        raise EmbeddedRefused(f"the path of the data folder {self.path} is too long for unix sockets, and so is TMPDIR")


def _private(folder: Path) -> Path:
    """Make `folder` with mode 0700 where others may write too; accept it when it is our own already."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise EmbeddedRefused(f"{folder} is not a folder of this account; remove it")
    folder.chmod(0o700)
    return folder


def _read_pid(fd: int) -> int | None:
    try:
        return int(os.pread(fd, 32, 0))
    except ValueError:
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    """A killed process that nobody has waited for still answers signal 0 (Linux; elsewhere never seen)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
