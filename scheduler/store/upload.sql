-- name: open_upload
-- Begin an upload.
-- Params: $1 batch, $2 early
INSERT INTO uploads (batch_id, early, seen_at) VALUES ($1, $2, clock_timestamp());

-- name: advance_upload
-- So many items are written; no row when the upload was given up meanwhile.
-- Params: $1 batch, $2 items
UPDATE uploads SET stored = $2, seen_at = clock_timestamp() WHERE batch_id = $1 AND NOT torn;

-- name: touch_upload
-- A sign of life.
-- Params: $1 batch
UPDATE uploads SET seen_at = clock_timestamp() WHERE batch_id = $1;

-- name: close_upload
-- It is complete; no row when it was given up meanwhile.
-- Params: $1 batch
DELETE FROM uploads WHERE batch_id = $1 AND NOT torn;

-- name: tear_upload
-- Give it up: the sealer does the rest.
-- Params: $1 batch
UPDATE uploads SET torn = true WHERE batch_id = $1;

-- name: torn_uploads
-- Uploads that were given up, and those that fell silent, which are given up now.
-- Params: $1 seconds of silence
UPDATE uploads SET torn = true
WHERE torn OR seen_at < clock_timestamp() - $1 * interval '1 second'
RETURNING batch_id, early, stored;

-- name: forget_upload
-- What was torn is put right.
-- Params: $1 batch
DELETE FROM uploads WHERE batch_id = $1;

-- name: sweep_items
-- Items of an upload that never became a batch.
-- Params: $1 batch, $2 after this seq, $3 up to this seq
DELETE FROM items WHERE batch_id = $1 AND seq > $2 AND seq <= $3;

-- name: extend_flows
-- More items of flows, also of new ones; answers those flows.
-- Params: $1 batch, $2 resources, $3 numbers, $4 more items, $5 lowest and $6 highest seqs of them
INSERT INTO batch_flows AS f (batch_id, workspace_id, environment_id, shard, resource_id, no, items, first, last)
SELECT b.batch_id, b.workspace_id, b.environment_id, b.shard, w.resource_id, w.no, w.items, w.first, w.last
FROM batches b,
    unnest($2::uuid[], $3::smallint[], $4::integer[], $5::integer[], $6::integer[]) AS w (resource_id, no, items, first, last)
WHERE b.batch_id = $1
ON CONFLICT (batch_id, no) DO UPDATE SET items = f.items + EXCLUDED.items, last = EXCLUDED.last
RETURNING f.*;

-- name: extend_batch
-- More items of an unsealed batch; no row when it was sealed meanwhile.
-- Params: $1 batch, $2 items stored now, $3 more estimated prompt tokens
UPDATE batches b SET
    stored = $2, total_items = $2, estimated_prompt_tokens = b.estimated_prompt_tokens + $3, updated_at = clock_timestamp()
WHERE b.batch_id = $1 AND NOT b.sealed RETURNING b.status, b.last_event;

-- name: seal_batch
-- All items are here; ends the batch if all of it is finished.
-- Params: $1 batch, $2 what is wrong with it
SELECT seal_batch($1, $2);

-- name: name_body
-- The hash of a body is known only when all of it has come.
-- Params: $1 environment, $2 key, $3 batch, $4 SHA-256
UPDATE idempotency_keys SET body_hash = $4 WHERE environment_id = $1 AND key = $2 AND batch_id = $3;
