"""The checks of `brim-server doctor`; each is one small function, and none changes anything."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import redis.exceptions

from brim_server.running.eviction import UnfitRedis, complaint_about, read_policies
from scheduler.bootstrap import Core, open_core
from scheduler.domain.errors import BrimError, InvariantBroken, Unavailable
from scheduler.engine.address import read_url
from scheduler.ports.shards import WORKER
from scheduler.settings import Settings
from scheduler.store.migrations import NewerDatabase, pending

_TIMEOUT_S = 10.0
_ALIVE_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    good: bool
    detail: str


async def examine(settings: Settings) -> list[Finding]:
    """Run all checks. What lies behind a server that cannot be reached is not asked for."""
    findings = [
        *await _guarded("redis", lambda: _redis(settings)),
        *await _guarded("postgres", lambda: _postgres(settings)),
    ]
    if all(finding.good for finding in findings):
        findings.extend(await _guarded("workers", lambda: _core(settings)))
    return findings


async def examine_this_host(settings: Settings) -> list[Finding]:
    """Check only that a worker of this host gives signs of life. Trouble elsewhere is not its fault."""
    return await _guarded("worker of this host", lambda: _this_host(settings))


async def _guarded(check: str, ask: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """Turn what can go wrong while asking into a finding."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await ask()
    except TimeoutError:
        return [Finding(check, False, f"no answer within {_TIMEOUT_S:.0f} s")]
    except (OSError, ValueError, UnfitRedis, redis.exceptions.RedisError, asyncpg.PostgresError, BrimError) as error:
        return [Finding(check, False, str(error) or type(error).__name__)]


async def _redis(settings: Settings) -> list[Finding]:
    policies = await read_policies(settings.redis_url)
    complaint = complaint_about(policies)
    answers = "answers" if read_url(settings.redis_url) is None else "a cluster; every node with slots answers"
    told = ", ".join(sorted(set(policies))) or "not told by the server"
    return [Finding("redis", True, answers), Finding("eviction policy", complaint is None, complaint or told)]


async def _postgres(settings: Settings) -> list[Finding]:
    connection = await asyncpg.connect(settings.database_url, timeout=_TIMEOUT_S)
    try:
        version = connection.get_server_version()
        good = version.major >= 15
        findings = [Finding("postgres", good, f"answers, version {version.major}" + ("" if good else "; 15 is needed"))]
        try:
            missing = await pending(connection)
        except NewerDatabase as error:
            return [*findings, Finding("migrations", False, str(error))]
        detail = f"missing: {', '.join(missing)}; run brim-server migrate" if missing else "up to date"
        return [*findings, Finding("migrations", not missing, detail)]
    finally:
        connection.terminate()


async def _core(settings: Settings) -> list[Finding]:
    async with open_core(settings) as core:
        alive = await core.store.shards.alive(_ALIVE_WITHIN_S)
        workers = sum(1 for process in alive if process["kind"] == WORKER)
        detail = f"{workers} alive" if workers else f"none was heard of within {_ALIVE_WITHIN_S:.0f} s"
        return [
            Finding("workers", workers > 0, detail),
            await _queues(core, workers),
            await _set_up(core),
            await _secrets(core),
            await _connections(core),
            await _files(core),
        ]


async def _files(core: Core) -> Finding:
    """Whether uploaded files are where this process looks for them."""
    try:
        wrong = await core.files.check()
    except Unavailable as error:
        return Finding("files", False, error.message)
    return Finding("files", wrong is None, wrong or "can be reached")


async def _set_up(core: Core) -> Finding:
    """What callers may name, and with which keys. A Brim without any is new, not ill."""
    setup = core.store.setup
    resources = await setup.resources()
    if not resources:
        return Finding("set-up", True, "nothing yet: no resource that callers could name")
    counts = (len(await setup.connections()), len(resources), len(await setup.api_keys()))
    return Finding("set-up", True, "connections {}, resources {}, API keys {}".format(*counts))


async def _secrets(core: Core) -> Finding:
    """Whether our BRIM_SECRET_KEY is the one that the providers' keys were sealed with."""
    sealed = [
        (each.name, secret) for each in await core.store.setup.connections() for secret in each.secret_config.values()
    ]
    if core.settings.secret_key is None:
        return Finding("secrets", True, "not looked at: BRIM_SECRET_KEY is not set here" if sealed else "none to open")
    closed = set()
    for name, secret in sealed:
        try:
            core.vault.open(secret)
        except InvariantBroken:
            closed.add(name)
    if closed:
        names = ", ".join(sorted(closed))
        return Finding("secrets", False, f"BRIM_SECRET_KEY is not the one that the keys of {names} were sealed with")
    return Finding("secrets", True, f"{len(sealed)} open" if sealed else "none to open")


async def _connections(core: Core) -> Finding:
    """Parked connections wait for somebody to pay, or to renew a key."""
    parked = await core.store.parkings.parked(datetime.now(UTC))
    told = [
        f"{each.connection_name}{f' ({each.model})' if each.model else ''} is parked until "
        f"{each.due_at:%Y-%m-%d %H:%M} UTC: {each.reason}"
        for each in parked
    ]
    if told:
        told.append("once that is put right: brim connections --resume NAME")
    return Finding("connections", not told, "; ".join(told) or "none is parked")


async def _this_host(settings: Settings) -> list[Finding]:
    host = socket.gethostname()
    async with open_core(settings, max_connections=1) as core:
        alive = await core.store.shards.alive(_ALIVE_WITHIN_S)
    workers = sum(1 for process in alive if process["kind"] == WORKER and process["info"].get("host") == host)
    detail = f"{workers} alive on {host}" if workers else f"none on {host} was heard of within {_ALIVE_WITHIN_S:.0f} s"
    return [Finding("worker of this host", workers > 0, detail)]


async def _queues(core: Core, workers: int) -> Finding:
    """A queue is stuck when leases stay past their deadline, or when it may be claimed and nobody is there."""
    overdue = active = standby = leases = 0
    for shard in await core.store.shards.live_shards():
        depths = await core.engine.queue_depths(shard)
        overdue += depths.overdue_leases
        active += depths.active
        standby += depths.standby
        leases += depths.leases
    counts = f"{active} active, {standby} standby, {leases} running"
    if overdue:
        return Finding("queues", False, f"{counts}; {overdue} overdue that no worker takes back")
    if active and not workers:
        return Finding("queues", False, f"{counts}; nobody claims from the active ones")
    return Finding("queues", True, counts)
