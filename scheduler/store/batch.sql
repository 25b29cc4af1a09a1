-- name: reserve_idempotency_key
-- Take the key for a batch; no row when it is taken. A key is free after 24 h; without its batch, because whoever began
-- to create it died or lost Postgres, after 30 s; while its body was still to come (no hash), after 10 minutes.
-- Params: $1 environment, $2 key, $3 SHA-256 of the body, $4 batch
INSERT INTO idempotency_keys AS k (environment_id, key, body_hash, batch_id, created_at)
VALUES ($1, $2, $3, $4, clock_timestamp())
ON CONFLICT (environment_id, key) DO UPDATE
SET body_hash = EXCLUDED.body_hash, batch_id = EXCLUDED.batch_id, created_at = EXCLUDED.created_at
WHERE k.created_at < clock_timestamp() - interval '24 hours'
    OR (k.created_at < clock_timestamp() - CASE k.body_hash WHEN '' THEN interval '10 minutes' ELSE interval '30 seconds' END
        AND NOT EXISTS (SELECT FROM batches b WHERE b.batch_id = k.batch_id)
        AND NOT EXISTS (SELECT FROM uploads u WHERE u.batch_id = k.batch_id))
RETURNING batch_id;

-- name: idempotency_holder
-- Who holds the key, and whether its batch exists.
-- Params: $1 environment, $2 key
SELECT k.body_hash, k.batch_id, b.batch_id IS NOT NULL AS created, coalesce(b.sealed, false) AS sealed
FROM idempotency_keys k LEFT JOIN batches b ON b.batch_id = k.batch_id
WHERE k.environment_id = $1 AND k.key = $2;

-- name: keep_idempotency_key
-- At the end of a creation: the key stays with its batch. No row when another took it over meanwhile; nobody can between
-- this and the commit.
-- Params: $1 environment, $2 key, $3 batch
UPDATE idempotency_keys SET created_at = clock_timestamp()
WHERE environment_id = $1 AND key = $2 AND batch_id = $3 RETURNING batch_id;

-- name: release_idempotency_key
-- Give the key back unless the batch was created after all.
-- Params: $1 environment, $2 key, $3 batch
DELETE FROM idempotency_keys k
WHERE k.environment_id = $1 AND k.key = $2 AND k.batch_id = $3
    AND NOT EXISTS (SELECT FROM batches b WHERE b.batch_id = $3);

-- name: hold_resources
-- Keep resources from being deleted until this transaction ends; answers those that exist.
-- Params: $1 environment, $2 resources
SELECT resource_id FROM resources WHERE environment_id = $1 AND resource_id = ANY ($2::uuid[])
ORDER BY resource_id FOR KEY SHARE;

-- name: create_batch
-- The batch row, with event 1.
-- Params: $1 batch, $2 environment, $3 type, $4 priority, $5 items, $6 estimated prompt tokens, $7 max in flight,
-- $8 deadline, $9 api key, $10 capacity, $11 callback, $12 receiver, $13 wants item_update, $14 wants batch_update,
-- $15 metadata, $16 workspace, $17 sealed: all items are here, $18 fine priority, $19 retries of its items,
-- $20 caller
WITH made AS (
    INSERT INTO batches AS b (
        batch_id, workspace_id, environment_id, shard, type, status, priority, total_items, stored, sealed,
        estimated_prompt_tokens, max_in_flight, deadline, api_key_id, capacity, callback, receiver,
        wants_item_update, wants_batch_update, metadata, fine_priority, max_retries, caller, last_event, created_at,
        updated_at)
    SELECT $1, e.workspace_id, e.environment_id, e.shard, $3, 'PENDING', $4, $5, $5, $17, $6, $7, $8, $9, $10, $11, $12,
        $13, $14, $15, $18, $19, $20, 1, now(), now()
    FROM environments e WHERE e.environment_id = $2 AND e.workspace_id = $16
    RETURNING b.batch_id, b.created_at, b.shard, batch_snapshot(b) AS snapshot
), told AS (
    INSERT INTO events (batch_id, event_no, at, action, snapshot)
    SELECT m.batch_id, 1, m.created_at, 'batch-created', m.snapshot FROM made m
)
SELECT shard FROM made;

-- name: create_flows
-- The flows of a new batch.
-- Params: $1 batch, $2 resources, $3 numbers, $4 items, $5 lowest seqs, $6 highest seqs
INSERT INTO batch_flows (batch_id, workspace_id, environment_id, shard, resource_id, no, items, first, last)
SELECT b.batch_id, b.workspace_id, b.environment_id, b.shard, f.resource_id, f.no, f.items, f.first, f.last
FROM batches b,
    unnest($2::uuid[], $3::smallint[], $4::integer[], $5::integer[], $6::integer[]) AS f (resource_id, no, items, first, last)
WHERE b.batch_id = $1
RETURNING *;

-- name: get_batch
-- One batch.
-- Params: $1 environment, $2 batch
SELECT b.*, k.name AS api_key_name
FROM batches b LEFT JOIN api_keys k ON k.api_key_id = b.api_key_id
WHERE b.batch_id = $2 AND b.environment_id = $1;

-- name: get_batches
-- Many batches of any environment.
-- Params: $1 batches
SELECT b.*, k.name AS api_key_name
FROM batches b LEFT JOIN api_keys k ON k.api_key_id = b.api_key_id
WHERE b.batch_id = ANY ($1::uuid[]);

-- name: list_batches
-- Newest first. Bounds and order are stated over whole index entries, so that only batches_by_environment can serve.
-- Params: $1 environment, $2 before this batch, $3 how many
SELECT b.*, k.name AS api_key_name
FROM batches b LEFT JOIN api_keys k ON k.api_key_id = b.api_key_id
WHERE (b.environment_id, b.batch_id) < ($1, $2)
    AND (b.environment_id, b.batch_id) >= ($1, '00000000-0000-0000-0000-000000000000')
ORDER BY b.environment_id DESC, b.batch_id DESC LIMIT $3;

-- name: list_batches_of_status
-- Newest first, one status. Stated for batches_by_status, as above.
-- Params: $1 environment, $2 before this batch, $3 how many, $4 status
SELECT b.*, k.name AS api_key_name
FROM batches b LEFT JOIN api_keys k ON k.api_key_id = b.api_key_id
WHERE (b.status, b.environment_id, b.batch_id) < ($4, $1, $2)
    AND (b.status, b.environment_id, b.batch_id) >= ($4, $1, '00000000-0000-0000-0000-000000000000')
ORDER BY b.status DESC, b.environment_id DESC, b.batch_id DESC LIMIT $3;

-- name: flows
-- The flows of a batch in the order of first use.
-- Params: $1 batch
SELECT * FROM batch_flows WHERE batch_id = $1 ORDER BY no;

-- name: cancel_batch
-- Cancel unless final; end if nothing is left to wait for.
-- Params: $1 environment, $2 batch
SELECT cancel_batch($1, $2);

-- name: end_full_batches
-- End those whose items all have outcomes; answers the ended ones.
-- Params: $1 batches
SELECT unnest(ended) AS batch_id FROM end_full_batches($1::uuid[]);

-- name: retry_batch
-- Run failed items of an ended batch again; answers unknown | open | nothing | reopened.
-- Params: $1 environment, $2 batch, $3 seqs, $4 error code, $5 resource, each null for all
SELECT verdict, again FROM retry_batch($1, $2, $3::integer[], $4, $5);

-- name: set_paused
-- Hold or let go; only when that changes something and the batch is live.
-- Params: $1 environment, $2 batch, $3 paused
UPDATE batches SET paused = $3, version = version + 1, updated_at = clock_timestamp()
WHERE batch_id = $2 AND environment_id = $1 AND paused <> $3 AND status IN ('PENDING', 'RUNNING');

-- name: change_batch
-- Change a live batch; null leaves a field as it is.
-- Params: $1 environment, $2 batch, $3 priority, $4 capacity, $5 deadline, $6 whether the deadline goes
UPDATE batches SET
    priority = coalesce($3, priority),
    fine_priority = CASE WHEN $3 IS NULL THEN fine_priority END,
    capacity = coalesce($4, capacity),
    deadline = CASE WHEN $6 THEN NULL ELSE coalesce($5, deadline) END,
    version = version + 1, updated_at = clock_timestamp()
WHERE batch_id = $2 AND environment_id = $1 AND status IN ('PENDING', 'RUNNING');

-- name: mark_running
-- PENDING → RUNNING. Locked in order of id, like every writer of several batches.
-- Params: $1 batches
WITH waiting AS (
    SELECT batch_id FROM batches WHERE batch_id = ANY ($1::uuid[]) AND status = 'PENDING'
    ORDER BY batch_id FOR NO KEY UPDATE
)
UPDATE batches b SET status = 'RUNNING', updated_at = clock_timestamp()
FROM waiting w WHERE b.batch_id = w.batch_id;
