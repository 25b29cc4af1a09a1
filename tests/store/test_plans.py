"""Hot queries use their index, also when they were planned on empty tables: the session keeps that plan."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from scheduler.store import PostgresStore
from scheduler.store.connecting import SESSION
from scheduler.store.statements import load_statements
from tests.store.factories import Tenant, make_batch, new_id, outcomes

_PARTITION = re.compile(r"_(\d{8}|rest)$")
_SAMPLES = {
    "uuid": f"'{new_id()}'::uuid",
    "int4": "5",
    "int8": "5",
    "int2": "1",
    "text": "'x'",
    "bytea": "'x'",
    "float8": "1.0",
    "timestamptz": "'2026-11-22T12:00:00Z'",
}

# Per query: each table it may touch, and the columns that must bound the index scan of it.
EXPECTED: dict[str, dict[str, set[str]]] = {
    "item.load": {
        "shards": {"shard"},
        "batches": {"batch_id"},
        "items": {"batch_id", "seq"},
        "batch_flows": {"batch_id", "no"},
        "item_runs": {"batch_id", "seq"},
        "outcomes": {"batch_id", "seq", "run"},
    },
    "item.window": {
        "items": {"batch_id", "seq"},
        "item_runs": {"batch_id", "seq"},
        "outcomes": {"batch_id", "seq", "run"},
    },
    "item.flow_bounds": {
        "batches": {"batch_id"},
        "batch_flows": {"batch_id", "resource_id"},
        "learned_batch_output": {"batch_id", "resource_id"},
        "learned_output": {"resource_id"},
    },
    "item.retried_runs": {"item_runs": {"batch_id", "seq"}},
    "item.unfinished": {
        "items": {"batch_id", "seq"},
        "item_runs": {"batch_id", "seq"},
        "outcomes": {"batch_id", "seq", "run"},
        "batch_flows": {"batch_id", "no"},
    },
    "item.item_page": {
        "batches": {"batch_id"},
        "items": {"batch_id", "seq"},
        "batch_flows": {"batch_id", "no"},
        "item_runs": {"batch_id", "seq"},
        "outcomes": {"batch_id", "seq", "run"},
        "connections": {"connection_id"},
    },
    "delivery.payloads": {
        "deliveries": {"batch_id", "delivery_id"},
        "events": {"batch_id", "event_no"},
        "webhook_targets": {"batch_id", "no"},
        "batches": {"batch_id"},
        "items": {"batch_id", "seq"},
        "batch_flows": {"batch_id", "no"},
        "item_runs": {"batch_id", "seq"},
        "outcomes": {"batch_id", "seq", "run"},
        "connections": {"connection_id"},
    },
    "batch.get_batch": {"batches": {"batch_id"}, "api_keys": {"api_key_id"}},
    "batch.list_batches": {"batches": {"environment_id", "batch_id"}, "api_keys": {"api_key_id"}},
    "batch.list_batches_of_status": {
        "batches": {"environment_id", "status", "batch_id"},
        "api_keys": {"api_key_id"},
    },
    "file.get_file": {"files": {"file_id"}, "blobs": {"digest"}},
    "file.files_newest_first": {"files": {"environment_id", "file_id"}, "blobs": {"digest"}},
    "file.files_of_purpose_oldest_first": {"files": {"purpose", "environment_id", "file_id"}, "blobs": {"digest"}},
    "submission.get_submission": {
        "submissions": {"batch_id"},
        "batches": {"batch_id"},
        "webhook_targets": {"batch_id"},
    },
    "submission.list_submissions": {
        "submissions": {"environment_id", "source_format", "batch_id"},
        "batches": {"batch_id"},
        "webhook_targets": {"batch_id"},
    },
    "shard.unfinished_flows": {"batches": {"shard", "batch_id"}, "batch_flows": {"batch_id"}},
    "setup.api_key_by_hash": {"api_keys": {"key_hash"}},
}
# Queries that may read a table in two ways: (table, end of the index's name), these and no others.
EXPECTED_INDEXES: dict[str, set[tuple[str, str]]] = {
    "outcome.events": {
        ("events", "pkey"),
        ("outcomes", "batch_id_event_no_idx"),
        ("outcomes", "pkey"),
        ("items", "pkey"),
        ("item_runs", "pkey"),
        ("batches", "pkey"),
        ("batch_flows", "pkey"),
        ("connections", "pkey"),
    },
    "dead_letter.dead_letters": {
        ("batches", "with_failures"),
        ("outcomes", "batch_id_seq_idx"),
        ("items", "pkey"),
        ("item_runs", "pkey"),
        ("batch_flows", "pkey"),
    },
    "delivery.due_receivers": {("deliveries", "receiver_due_at_idx")},
    "delivery.lease_deliveries": {("deliveries", "receiver_due_at_idx"), ("deliveries", "pkey")},
    "delivery.record": {("deliveries", "delivery_id_idx"), ("deliveries", "pkey")},
    "file.forget_files": {("files", "expiring"), ("files", "unready"), ("files", "pkey"), ("blobs", "pkey")},
    "file.forget_blob": {("blobs", "pkey"), ("files", "by_content")},
    "submission.results": {
        ("outcomes", "batch_id_event_no_idx"),
        ("outcomes", "pkey"),
        ("items", "pkey"),
    },
    "submission.grip_submission": {("submissions", "unchecked"), ("submissions", "pkey")},
    "submission.held_running": {("submissions", "running"), ("batches", "pkey")},
    "delivery.next_due": {("deliveries", "due_at_idx")},
    "shard.cancelled_unfinished": {("batches", "cancelling"), ("api_keys", "pkey")},
}


@pytest.fixture
async def session(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A session like those of the store, on empty tables."""
    connection = await asyncpg.connect(database, server_settings=SESSION)
    try:
        yield connection
    finally:
        await connection.close()


async def plan_of(session: asyncpg.Connection, query: str) -> list[dict[str, Any]]:
    """All nodes of the generic plan of a query, named file.statement."""
    file, _, name = query.partition(".")
    statement = load_statements(file)[name]
    parameters = (await session.prepare(statement)).get_parameters()
    given = ", ".join("'{}'" if parameter.name.endswith("[]") else _SAMPLES[parameter.name] for parameter in parameters)
    await session.execute(f"PREPARE planned AS {statement}")
    explained = await session.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE planned{f'({given})' if given else ''}")
    await session.execute("DEALLOCATE planned")
    return list(nodes(json.loads(explained)[0]["Plan"]))


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The node and all below it."""
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def table_of(node: dict[str, Any]) -> str:
    """The table of a scan, partitions under the name of their parent."""
    return _PARTITION.sub("", node["Relation Name"])


@pytest.mark.parametrize("query", EXPECTED)
async def test_each_lookup_takes_its_whole_key_to_the_index(session: asyncpg.Connection, query: str) -> None:
    seen = set()
    for node in await plan_of(session, query):
        assert node["Node Type"] not in {"Seq Scan", "Bitmap Heap Scan"}, node
        if condition := node.get("Index Cond"):
            table = table_of(node)
            wanted = EXPECTED[query][table]
            assert {column for column in wanted if re.search(rf"\b{column}\b", condition)} == wanted, node
            seen.add(table)
    assert seen == EXPECTED[query].keys()


@pytest.mark.parametrize("query", EXPECTED_INDEXES)
async def test_each_query_reads_its_own_indexes_only(session: asyncpg.Connection, query: str) -> None:
    seen = set()
    for node in await plan_of(session, query):
        assert node["Node Type"] not in {"Seq Scan", "Sort"} or "Relation Name" not in node, node
        if index := node.get("Index Name"):
            seen.add((table_of(node), index.removeprefix(f"{node['Relation Name']}_")))
    assert seen == EXPECTED_INDEXES[query]


async def test_a_flush_in_a_session_that_began_with_empty_tables_stays_cheap(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    """A probe by the wrong index reads all outcomes of the batch each time: 2,000 flushed by 100 would read 200,000."""
    batch = await make_batch(store, tenant, 2_000)
    for first in range(1, 2_001, 100):
        await store.outcomes.flush(outcomes(batch, range(first, first + 100)))
    await store.close()
    read = await postgres.fetchval("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname LIKE 'outcomes%'")
    assert int(read) < 10_000
