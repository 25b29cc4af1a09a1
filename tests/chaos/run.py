"""One run: a stack, its users, a schedule of faults, and the judgement when all is quiet again."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.stack import Stack, connection, resource, simulator, stack
from tests.chaos.clients import Clients, Trouble
from tests.chaos.history import Call, History
from tests.chaos.injector import Injector
from tests.chaos.receiver import Receiver, receiving
from tests.chaos.schedule import Fault, Planned, plan
from tests.chaos.servers import Servers

LOOKS_S = 0.5
DELIVERY_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Shape:
    """How a run is made. rpm: the limit of the metered connection; its provider holds it strictly. metered_items: 0
    leaves that connection out. quiet_s: after the faults everything must have ended within this. scale: of
    how long faults last. callbacks: a quarter of the batches has them."""

    seconds: float = 60.0
    faults: int = 16
    kinds: Sequence[Fault] = tuple(Fault)
    batches: int = 40
    largest: int = 400
    rpm: int = 480
    metered_items: int = 360
    latency_ms: int = 300
    workers: int = 2
    lease_ms: int = 2_000
    quiet_s: float = 100.0
    scale: float = 1.0
    callbacks: bool = True


@dataclass(slots=True)
class Verdict:
    """What came of a run. violations: empty when every promise was kept."""

    seed: int
    violations: list[str]
    items: int = 0
    calls: int = 0
    repeated: int = 0
    receipts: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    worst_minute: int = 0
    took_s: float = 0.0
    trouble: Trouble = field(default_factory=Trouble)
    faults: list[str] = field(default_factory=list)


async def run(seed: int, shape: Shape, log: Path | None = None) -> Verdict:
    """Carry out the schedule of `seed`. log: where to leave what Brim's processes said."""
    started = time.monotonic()
    history = History()
    planned = plan(seed, shape.seconds, shape.kinds, shape.faults)
    folder = Path(tempfile.mkdtemp(prefix="brim-chaos-"))
    try:
        async with (
            Servers(folder) as servers,
            simulator("--latency-ms", str(shape.latency_ms), "--latency-jitter-ms", str(shape.latency_ms)) as open_door,
            simulator("--latency-ms", str(shape.latency_ms), "--rpm", str(shape.rpm), "--shape", "sliding") as metered,
            receiving(seed) as receiver,
            stack(
                _setup(open_door, metered, shape.rpm),
                workers=shape.workers,
                settings=_settings(servers, shape),
                log=log,
            ) as brim,
        ):
            clients = Clients(brim, history)
            injector = Injector(brim, servers, receiver, open_door, history, shape.lease_ms / 1000, shape.scale)
            stuck = await _live_through(seed, shape, planned, clients, injector, receiver, history)
            stuck += await _second_reading(clients, history)
            await _until_delivered(history, receiver)
            history.receipts = receiver.receipts
            for origin in (open_door, metered):
                history.calls += await _calls(brim, origin)
            stats = await _json(brim, f"{metered}/stats")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    history.limits.append(("requests of the metered connection", shape.rpm, stats["worst_minute"]["requests"]))
    history.refused = stats["refused_429"]
    return _verdict(seed, history, clients.trouble, stuck, stats, time.monotonic() - started)


def _setup(open_door: str, metered: str, rpm: int) -> str:
    limit = f'capacity = [{{period = "MINUTE", requests = {rpm}}}]'
    return (
        connection("open", "openai-compatible", f"{open_door}/v1")
        + connection("metered", "openai-compatible", f"{metered}/v1", limit)
        + resource("free", "open", "timeout_ms = 5000\nmax_retries = 20")
        + resource("metered", "metered", "timeout_ms = 5000\nmax_retries = 20")
    )


def _settings(servers: Servers, shape: Shape) -> dict[str, str]:
    return {
        "BRIM_REDIS_URL": servers.redis_url,
        "BRIM_DATABASE_URL": servers.database_url,
        "BRIM_LEASE_MS": str(shape.lease_ms),
        "BRIM_RECONCILE_S": "1",
        "BRIM_DRAIN_S": "5",
        "BRIM_CALLBACK_ALLOW_HOSTS": "127.0.0.1",
        "BRIM_LOG_LEVEL": "info",
    }


async def _live_through(
    seed: int,
    shape: Shape,
    planned: Sequence[Planned],
    clients: Clients,
    injector: Injector,
    receiver: Receiver,
    history: History,
) -> list[str]:
    """Users and faults side by side, until all batches ended or quiet_s after the last fault."""
    draw = random.Random(seed + 1_000_000)
    users: list[asyncio.Task[None]] = []
    began = time.monotonic()

    async def use(name: str, at_s: float, resource_name: str, count: int, callback: bool) -> None:
        await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
        batch = await clients.post(name, resource_name, count, receiver.url if callback else None)
        await asyncio.gather(clients.follow(batch, batch.events), clients.until_final(batch))

    if shape.metered_items:
        users.append(asyncio.create_task(use(f"s{seed}-metered", 0.0, "metered", shape.metered_items, False)))
    for number in range(shape.batches):
        at_s, count = draw.uniform(0, shape.seconds), draw.randint(1, shape.largest)
        callback = shape.callbacks and number % 4 == 3
        name = f"s{seed}-b{number}"
        users.append(asyncio.create_task(use(name, at_s, "free", count if not callback else min(count, 60), callback)))
    looking = asyncio.create_task(_look_around(clients, history, draw))
    faults = [asyncio.create_task(_strike(injector, each, began)) for each in planned]
    try:
        await asyncio.gather(*faults)
        done, pending = await asyncio.wait(users, timeout=max(1.0, began + shape.seconds - time.monotonic()))
        done, pending = await asyncio.wait(users, timeout=shape.quiet_s) if pending else (done, pending)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        broken = [repr(task.exception()) for task in done if task.exception() is not None]
    finally:
        for task in (looking, *users, *faults):
            task.cancel()
        await asyncio.gather(looking, *users, *faults, return_exceptions=True)
    late = [f"{len(pending)} users still waited {shape.quiet_s:g} s after the last fault"] if pending else []
    return broken + late


async def _strike(injector: Injector, planned: Planned, began: float) -> None:
    await asyncio.sleep(max(0.0, began + planned.at_s - time.monotonic()))
    await injector.carry_out(planned)


async def _look_around(clients: Clients, history: History, draw: random.Random) -> None:
    while True:
        await asyncio.sleep(LOOKS_S)
        if history.batches:
            await clients.look(draw.choice(list(history.batches)))


async def _second_reading(clients: Clients, history: History) -> list[str]:
    """Every batch once more from its first event: another reader, at another time, from another process."""
    try:
        async with asyncio.timeout(60):
            for batch in history.batches.values():
                if batch.done:
                    await clients.follow(batch, batch.second_reading)
    except TimeoutError:
        return ["the second reading did not end within 60 s"]
    return []


async def _until_delivered(history: History, receiver: Receiver) -> None:
    """Tries come after 1, 3 and 10 s: give them their time."""
    deadline = time.monotonic() + DELIVERY_PATIENCE_S
    while time.monotonic() < deadline:
        history.receipts = receiver.receipts
        if not any("never arrived" in each for each in history.violations()):
            return
        await asyncio.sleep(0.5)


async def _json(brim: Stack, url: str) -> dict[str, Any]:
    async with brim.session.get(url) as answer:
        return dict(json.loads(await answer.read()))


async def _calls(brim: Stack, origin: str) -> list[Call]:
    calls: list[Call] = []
    since = 0
    while True:
        page = await _json(brim, f"{origin}/calls?since={since}")
        for row in page["calls"]:
            call = dict(zip(page["columns"], row, strict=True))
            calls.append(Call(call["arrival_ms"] / 1000, call["body"], call["status"], call["fault"]))
        if not page["calls"]:
            return calls
        since = page["next"]


def _verdict(
    seed: int, history: History, trouble: Trouble, stuck: list[str], stats: dict[str, Any], took_s: float
) -> Verdict:
    violations = stuck + history.violations() + trouble.odd
    if trouble.without_retry_after:
        violations.append(f"{trouble.without_retry_after} answers of 503 said nothing of Retry-After")
    first_s = min((struck.began_s for struck in history.faults), default=0.0)
    return Verdict(
        seed=seed,
        violations=violations,
        items=sum(len(batch.custom_ids) for batch in history.batches.values()),
        calls=len(history.calls),
        repeated=len(history.repeats()),
        receipts=len(history.receipts),
        statuses=dict(Counter(item["status"] for batch in history.batches.values() for item in batch.items)),
        worst_minute=stats["worst_minute"]["requests"],
        took_s=took_s,
        trouble=trouble,
        faults=[
            f"+{struck.began_s - first_s:5.1f} s  {struck.fault.name}  {struck.detail}" for struck in history.faults
        ],
    )
