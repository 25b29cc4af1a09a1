-- name: count_shards
-- How many shards there are.
SELECT count(*) FROM shards;

-- name: live_shards
-- Shards that have an environment.
SELECT DISTINCT shard FROM environments ORDER BY shard;

-- name: epoch
-- A shard's epoch and the Redis it was opened with.
-- Params: $1 shard
SELECT epoch, identity FROM shards WHERE shard = $1;

-- name: raise_epoch
-- Compare-and-set; no row when another was faster.
-- Params: $1 shard, $2 epoch that was seen, $3 identity
UPDATE shards SET epoch = epoch + 1, identity = $3 WHERE shard = $1 AND epoch = $2 RETURNING epoch;

-- name: unfinished_flows
-- Flows of live batches of a shard, by (batch, resource). Stated so that only batches_open can serve.
-- Params: $1 shard, $2 after this batch, $3 and this resource of it, $4 how many
SELECT f.* FROM batches b
CROSS JOIN LATERAL (
    SELECT * FROM batch_flows f
    WHERE f.batch_id = b.batch_id AND (f.batch_id > $2 OR f.resource_id > $3)
    ORDER BY f.resource_id
) f
WHERE b.status IN ('PENDING', 'RUNNING') AND (b.shard, b.batch_id) >= ($1, $2) AND b.shard < $1 + 1
ORDER BY b.shard, b.batch_id, f.resource_id LIMIT $4;

-- name: cancelled_unfinished
-- Cancelled batches that have not ended, longest waiting first. Uses batches_cancelling.
-- Params: $1 how many, $2 and $3 time of change and id of the last one of the page before, or null
SELECT b.*, k.name AS api_key_name
FROM batches b LEFT JOIN api_keys k ON k.api_key_id = b.api_key_id
WHERE b.status = 'CANCELLED' AND b.completed_at IS NULL
    AND b.updated_at >= coalesce($2, '-infinity'::timestamptz)
    AND ($3::uuid IS NULL OR (b.updated_at, b.batch_id) > ($2, $3))
ORDER BY b.updated_at, b.batch_id LIMIT $1;

-- name: raise_generation
-- Compare-and-set; no row when another was faster.
-- Params: $1 batch, $2 resource, $3 generation that was seen
UPDATE batch_flows SET generation = generation + 1
WHERE batch_id = $1 AND resource_id = $2 AND generation = $3 RETURNING generation;

-- name: beat
-- A process's sign of life; and the age of those that other workers gave lately, the last one of a stopped worker among
-- them: what it does not hold any more did not kill it either.
-- Params: $1 holder, $2 kind, $3 info, $4 lately, in seconds
WITH mine AS (
    INSERT INTO processes (holder, kind, info, beat_at) VALUES ($1, $2, $3, clock_timestamp())
    ON CONFLICT (holder) DO UPDATE SET kind = EXCLUDED.kind, info = EXCLUDED.info, beat_at = EXCLUDED.beat_at
)
SELECT p.holder, extract(epoch FROM clock_timestamp() - p.beat_at)::float8 AS age_s FROM processes p
WHERE p.kind IN ('worker', 'stopped') AND p.holder <> $1 AND p.beat_at >= clock_timestamp() - $4 * interval '1 second';

-- name: alive
-- Processes that beat lately, also those that stopped since.
-- Params: $1 seconds
SELECT holder, kind, info, beat_at FROM processes
WHERE beat_at >= clock_timestamp() - $1 * interval '1 second' ORDER BY kind, holder;

-- name: ensure_partitions
-- This week's partitions and those ahead.
-- Params: $1 weeks ahead
SELECT ensure_partitions(clock_timestamp(), $1);

-- name: forget_idempotency_keys
-- Keys that are free again anyway.
DELETE FROM idempotency_keys WHERE created_at < clock_timestamp() - interval '24 hours';

-- name: forget_processes
-- Processes that fell silent a day ago.
DELETE FROM processes WHERE beat_at < clock_timestamp() - interval '1 day';
