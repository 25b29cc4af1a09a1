"""The real scripts on a real Redis at a set clock: one round trip a step also brings all that the shard holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
from redis import Redis

from scheduler.engine import keys, scripts
from tests.stateful.world import BUDGETS, FLOWS, QUEUE_NAMES, SHARD

SET_CLOCK = """
local function read_server_ms() return tonumber(redis.call('GET', string.sub(KEYS[1], 1, -6) .. 'test-now')) end
"""
PREFIX = keys.prefix(SHARD)
EPOCH = 1
_DUMP = """
local prefix, reply = string.sub(KEYS[1], 1, -6), {}
local function all(name) return redis.call('ZRANGE', prefix .. name, 0, -1, 'WITHSCORES') end
local zsets = {'active-resources', 'standby-resources', 'global-processing-queue', 'budgets-due', 'flows-due'}
for _, name in ipairs(zsets) do
  reply[#reply + 1] = all(name)
end
reply[#reply + 1] = redis.call('HGETALL', prefix .. 'leases')
reply[#reply + 1] = redis.call('HMGET', prefix .. 'clock', 'now', 'v', 'ahead')
reply[#reply + 1] = redis.call('GET', prefix .. 'timer') or ''
reply[#reply + 1] = redis.call('LLEN', prefix .. 'wake')
local queues, flows, budgets, at = {}, {}, {}, 1
for i = at + 1, at + ARGV[at] do
  queues[#queues + 1] = { all(ARGV[i] .. ':queue'), redis.call('HGETALL', prefix .. ARGV[i] .. ':queue-state'),
    redis.call('ZRANGE', prefix .. ARGV[i] .. ':processing-queue', 0, -1) }
end
at = at + ARGV[at] + 1
for i = at + 1, at + ARGV[at] do
  local flow = prefix .. 'flow:' .. ARGV[i]
  flows[#flows + 1] = { redis.call('LRANGE', flow, 0, -1), all('flow:' .. ARGV[i] .. ':deferred'),
    redis.call('HGETALL', flow .. ':state'), redis.call('TTL', flow .. ':state') }
end
at = at + ARGV[at] + 1
for i = at + 1, at + ARGV[at] do
  local name = 'budget:' .. ARGV[i]
  budgets[#budgets + 1] = { redis.call('HGETALL', prefix .. name), all(name .. ':waiting') }
end
reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = queues, flows, budgets
return reply
"""
_DUMP_ARGUMENTS = (
    len(QUEUE_NAMES),
    *QUEUE_NAMES,
    len(FLOWS),
    *(f"{flow.queue.resource_id}:{flow.batch_id}" for flow in FLOWS),
    len(BUDGETS),
    *BUDGETS,
)


def _scores(flat: list[bytes]) -> dict[str, float]:
    return {flat[i].decode(): float(flat[i + 1]) for i in range(0, len(flat), 2)}


def _fields(flat: list[bytes]) -> dict[str, bytes]:
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


@dataclass(frozen=True, slots=True)
class QueueSeen:
    flows: dict[str, float]
    state: dict[str, bytes]
    processing: set[str]


@dataclass(frozen=True, slots=True)
class FlowSeen:
    entries: list[str]
    deferred: dict[str, float]
    state: dict[str, bytes]
    ttl_s: int


@dataclass(frozen=True, slots=True)
class BudgetSeen:
    """limits: (code, period_ms, requests, tokens, pace, burst_ms, meter); account: the numbers of `st`."""

    limits: list[tuple[str, int, float, float, float, float, str]]
    account: list[float]
    buckets: dict[str, bytes]
    waiting: dict[str, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a shard holds."""

    active: dict[str, float]
    standby: dict[str, float]
    deadlines: dict[str, float]
    budgets_due: dict[str, float]
    flows_due: dict[str, float]
    leases: dict[str, list[Any]]
    now_ms: float
    ahead_ms: float
    virtual: float
    timer_ms: float | None
    tokens: int
    queues: list[QueueSeen]
    flows: list[FlowSeen]
    budgets: dict[str, BudgetSeen]


def _budget(flat: list[bytes], waiting: list[bytes]) -> BudgetSeen:
    state = _fields(flat)
    packed = state.pop("def", None)
    definition: list[Any] = msgspec.msgpack.decode(packed) if packed else [0, -1]
    account: list[float] = msgspec.msgpack.decode(state.pop("st")) if packed else []
    buckets = {name: value for name, value in state.items() if ":" in name}
    return BudgetSeen([tuple(limit) for limit in definition[2:]], account, buckets, _scores(waiting))


def _seen(raw: list[Any]) -> Seen:
    active, standby, deadlines, budgets_due, flows_due, leases, clock, timer, tokens, queues, flows, budgets = raw
    return Seen(
        _scores(active),
        _scores(standby),
        _scores(deadlines),
        _scores(budgets_due),
        _scores(flows_due),
        {name: msgspec.msgpack.decode(packed) for name, packed in _fields(leases).items()},
        float(clock[0] or 0),
        float(clock[2] or 0),
        float(clock[1] or 0),
        float(timer.split(b"|")[0]) if timer else None,
        tokens,
        [QueueSeen(_scores(a), _fields(b), {c.decode() for c in d}) for a, b, d in queues],
        [FlowSeen([e.decode() for e in a], _scores(b), _fields(c), ttl) for a, b, c, ttl in flows],
        {name: _budget(*pair) for name, pair in zip(BUDGETS, budgets, strict=True)},
    )


class Shard:
    """Runs scripts by name. Loaded once; each example starts with `clear`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._shas: dict[str, str] = {}
        for name in scripts.names():
            script = scripts.script(name, {"now": SET_CLOCK})
            client.script_load(script.text)
            self._shas[name] = script.sha
        client.script_load(_DUMP)
        self._dump = hashlib.sha1(_DUMP.encode(), usedforsecurity=False).hexdigest()

    def clear(self) -> None:
        """An empty shard in its first epoch."""
        self._client.flushall()
        self._client.set(keys.epoch(SHARD), EPOCH)

    def run(self, name: str, now_ms: int, *args: Any, pop_token: bool = False) -> tuple[Any, Seen]:
        """Run a script at a time; answers its reply and what the shard holds then. pop_token: the caller was woken."""
        pipeline: Any = self._client.pipeline(transaction=False)
        pipeline.execute_command("SET", PREFIX + "test-now", now_ms)
        if pop_token:
            pipeline.execute_command("LPOP", keys.wake(SHARD))
        pipeline.execute_command("EVALSHA", self._shas[name], 1, keys.epoch(SHARD), EPOCH, *args)
        pipeline.execute_command("EVALSHA", self._dump, 1, keys.epoch(SHARD), *_DUMP_ARGUMENTS)
        *_, reply, raw = pipeline.execute()
        return reply, _seen(raw)

    def delete(self, key: str) -> None:
        """As if a key had expired."""
        self._client.delete(key)

    def names(self) -> set[str]:
        """Every key of the shard, without its prefix."""
        found: Any = self._client.keys("*")
        return {key.decode().removeprefix(PREFIX) for key in found}

    def slowest(self) -> dict[str, int]:
        """Slow log: script → longest run in microseconds."""
        names = {sha: name for name, sha in self._shas.items()}
        found: dict[str, int] = {}
        for entry in self._client.slowlog_get(128):
            words = entry["command"].split(b" ")
            name = names.get(words[1].decode()) if len(words) > 1 and words[0] == b"EVALSHA" else None
            if name:
                found[name] = max(found.get(name, 0), entry["duration"])
        return found
