"""`brim-server up` from its first process to its last."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import IO, Any

from brim_server.demo import Demo, prepare_demo, simulator_arguments
from brim_server.embedded import EmbeddedServers
from brim_server.running import configuration
from brim_server.running.announcement import NOTHING_SET_UP, announcement
from brim_server.running.configuration import Address
from brim_server.running.eviction import refuse_evicting_redis
from brim_server.running.failure import StartFailed
from brim_server.running.fleet import Member, stop_members
from brim_server.running.foreground import run_command
from brim_server.running.keys import KeptKey, kept_key
from brim_server.running.plan import Plan, brim_command, child_environment
from brim_server.running.ports import choose_port, url_of
from brim_server.running.published import Urls, published
from brim_server.running.readiness import wait_until_ready
from scheduler.logs import configure_logs
from scheduler.settings import Settings

_READY_S = 60.0
_SIMULATOR_READY_S = 20.0
_AFTER_DRAIN_S = 1.5
"""What a process gets beyond its own drain before it is killed."""
_SIMULATOR_STOP_S = 1.0


class Session:
    """One run of `up`."""

    def __init__(self, plan: Plan) -> None:
        """Take the plan; nothing starts before `run`."""
        self._plan = plan
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._members: list[Member] = []
        self._simulator: list[Member] = []

    async def run(self) -> int:
        """Start everything, serve until a signal or the end of the command, stop everything.

        Returns the exit code: that of the command, or 0. Raises StartFailed or EmbeddedRefused.
        """
        with self._signals():
            running = asyncio.create_task(self._run())
            stopped = asyncio.create_task(self._stop.wait())
            # A signal during the start ends it at once; later `_run` sees `_stop` itself.
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not running.done() and not self._members:
                running.cancel()
            try:
                return await running
            except (asyncio.CancelledError, StartFailed):
                if self._stop.is_set():
                    return 0
                raise

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def told_to_stop() -> None:
            # The second time the person does not want to wait for the drain.
            (self._hurry if self._stop.is_set() else self._stop).set()

        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, told_to_stop)
        try:
            yield
        finally:
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(name)

    async def _run(self) -> int:
        plan = self._plan
        async with AsyncExitStack() as cleanup:
            if plan.temporary_data:
                cleanup.callback(shutil.rmtree, plan.data_dir, ignore_errors=True)
            try:
                plan.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StartFailed(
                    f"the data folder {plan.data_dir} cannot be made: {error.strerror}; choose another with --data-dir"
                ) from error
            port = choose_port(plan.host, plan.port)
            url = url_of(plan.host, port)
            redis_url, database_url = await self._servers(cleanup)
            await refuse_evicting_redis(redis_url)
            files_dir = os.environ.get("BRIM_FILES_DIR") or str(plan.data_dir / "files")
            cleanup.enter_context(published(plan.data_dir, Urls(redis_url, database_url, files_dir)))
            secret_key = self._key("BRIM_SECRET_KEY", "secret.key")
            admin_key = self._key("BRIM_ADMIN_KEY", "admin.key", prefix="brim_admin_")
            values: dict[str, Any] = {
                "redis_url": redis_url,
                "database_url": database_url,
                "secret_key": secret_key.text,
                "admin_key": admin_key.text,
                "host": plan.host,
                "port": port,
                "files_dir": files_dir,
            }
            if "BRIM_LOG_FORMAT" not in os.environ and not plan.command and sys.stderr.isatty():
                values["log_format"] = "console"
            settings = Settings(**values)
            # Beside a command the terminal is the command's: only what has gone wrong.
            shown = settings.model_copy(update={"log_level": "warning"}) if plan.command else settings
            configure_logs(shown, "up")
            await configuration.migrate_database(settings)
            output = self._output(cleanup)
            cleanup.push_async_callback(self._stop_simulator)
            demo = await self._demo(output)
            made, addresses = await self._set_up(settings, demo)
            env = child_environment({f"BRIM_{name.upper()}": str(value) for name, value in values.items()})
            cleanup.push_async_callback(self._stop_members, settings)
            await self._start_members(env, output, url)
            told = announcement(plan, url, admin_key, made, addresses, demo)
            if not (plan.command or addresses or await configuration.is_set_up(settings)):
                told += NOTHING_SET_UP
            # Beside a command stdout is the command's.
            print(told, file=sys.stderr if plan.command else sys.stdout, flush=True)
            if not plan.command:
                await self._stop.wait()
                return 0
            # Without a key of its own the command may do everything: it is the person's who started us.
            command_env = {**os.environ, "BRIM_URL": url, "BRIM_API_KEY": admin_key.text, **_reach(addresses, demo)}
            return await run_command(plan.command, command_env, self._stop)

    async def _servers(self, cleanup: AsyncExitStack) -> tuple[str, str]:
        """Return the URLs of Redis and Postgres; run embedded ones for those that are not given."""
        redis_url = os.environ.get("BRIM_REDIS_URL")
        database_url = os.environ.get("BRIM_DATABASE_URL")
        if redis_url and database_url:
            return redis_url, database_url
        servers = await cleanup.enter_async_context(
            EmbeddedServers(self._plan.data_dir, redis=not redis_url, postgres=not database_url)
        )
        return redis_url or servers.redis_url, database_url or servers.database_url

    def _key(self, variable: str, file: str, prefix: str = "") -> KeptKey:
        given = os.environ.get(variable)
        return KeptKey(given, made=False) if given else kept_key(self._plan.data_dir / file, prefix)

    def _output(self, cleanup: AsyncExitStack) -> IO[bytes] | None:
        """Return where the processes print: beside a command into a file, because the terminal is its own."""
        if not self._plan.command:
            return None
        folder = self._plan.data_dir / "log"
        folder.mkdir(mode=0o700, exist_ok=True)
        return cleanup.enter_context((folder / "brim.log").open("ab"))

    async def _demo(self, output: IO[bytes] | None) -> Demo | None:
        if not self._plan.demo:
            return None
        port = choose_port("127.0.0.1", 0)
        demo = prepare_demo(self._plan.data_dir, port)
        simulator = Member(
            "simulator", brim_command("simulate", *simulator_arguments(port)), child_environment({}), output
        )
        self._simulator.append(simulator)
        await wait_until_ready(f"{demo.simulator_url}/stats", lambda: self._death_of([simulator]), _SIMULATOR_READY_S)
        return demo

    async def _set_up(self, settings: Settings, demo: Demo | None) -> tuple[list[str], list[Address]]:
        """Apply the set-up files. Returns what was made and the environments, that of the demonstration first."""
        made: list[str] = []
        addresses: list[Address] = []
        for path in (demo.config if demo else None, self._plan.config):
            if path is not None:
                applied = await configuration.apply(settings, path)
                made.extend(applied.announcements)
                addresses.extend(applied.addresses)
        return made, addresses

    async def _start_members(self, env: dict[str, str], output: IO[bytes] | None, url: str) -> None:
        api = Member("api", brim_command("api"), env, output)
        self._members.append(api)
        for number in range(1, self._plan.workers + 1):
            self._members.append(Member(f"worker-{number}", brim_command("worker"), env, output))
        await wait_until_ready(f"{url}/health/ready", lambda: self._death_of(self._members), _READY_S)

    def _death_of(self, members: list[Member]) -> str | None:
        """Return why waiting for `members` is pointless."""
        if self._stop.is_set():
            return "stopped while starting"
        for member in members:
            if member.deaths:
                hint = f"; see {self._plan.data_dir / 'log' / 'brim.log'}" if self._plan.command else ""
                return f"{member.name} ended at start with code {member.last_exit_code}{hint}"
        return None

    async def _stop_members(self, settings: Settings) -> None:
        await stop_members(self._members, settings.drain_s + _AFTER_DRAIN_S, self._hurry)

    async def _stop_simulator(self) -> None:
        # After the workers: their last calls are still answered.
        await stop_members(self._simulator, _SIMULATOR_STOP_S, self._hurry)


def _reach(addresses: list[Address], demo: Demo | None) -> dict[str, str]:
    """Return the variables by which a command reaches the first environment."""
    env: dict[str, str] = {}
    for first in addresses[:1]:
        env = {"BRIM_WORKSPACE": first.workspace_id, "BRIM_ENVIRONMENT": first.environment_id}
        if first.api_key is not None:
            env["BRIM_API_KEY"] = first.api_key
    return env if demo is None else {**env, "BRIM_SIMULATOR_URL": demo.simulator_url}
