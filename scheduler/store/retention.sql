-- name: forget_batches
-- Batches older than a time that ended, with their flows; not while results or callbacks of theirs are still to go out.
-- Params: $1 older than this, $2 at most
WITH old AS (
    SELECT b.batch_id FROM batches b
    WHERE b.batch_id < lowest_uuid7($1) AND b.completed_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM submissions s WHERE s.batch_id = b.batch_id AND s.ended_at IS NULL)
        AND NOT EXISTS (SELECT FROM deliveries d WHERE d.batch_id = b.batch_id AND d.finished_at IS NULL)
    ORDER BY b.batch_id LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM batches b USING old WHERE b.batch_id = old.batch_id;

-- name: forget_submissions
-- Submissions older than a time that ended, and whose batch is gone or never was.
-- Params: $1 older than this, $2 at most
WITH old AS (
    SELECT s.batch_id FROM submissions s
    WHERE s.batch_id < lowest_uuid7($1) AND s.ended_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM batches b WHERE b.batch_id = s.batch_id)
        AND NOT EXISTS (SELECT FROM deliveries d WHERE d.batch_id = s.batch_id AND d.finished_at IS NULL)
    ORDER BY s.batch_id LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM submissions s USING old WHERE s.batch_id = old.batch_id;

-- name: old_partitions
-- Partitions, as (table, start of its week), whose whole week lies before a time, oldest first.
-- Params: $1 time
SELECT p.parent, p.week FROM (
    SELECT h.inhparent::regclass::text AS parent,
        to_timestamp(substring(c.relname FROM '_(\d{8})$') || ' UTC', 'YYYYMMDD TZ') AS week
    FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
    WHERE h.inhparent = ANY (ARRAY['items', 'item_runs', 'outcomes', 'events', 'deliveries']::regclass[])
        AND c.relname ~ '_\d{8}$'
) p WHERE p.week + interval '7 days' <= $1 ORDER BY p.week, p.parent;

-- name: drop_partition
-- True when it is gone; false when somebody still has something in it.
-- Params: $1 table, $2 start of the week
SELECT drop_partition($1, $2);

-- name: sweep_net
-- Rows of weeks that never got a partition.
-- Params: $1 table, $2 older than this, $3 at most
SELECT sweep_net($1, $2, $3);
