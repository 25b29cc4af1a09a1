-- name: run_ms
-- Mean duration of the last calls of a batch. "event_no > 0" names the index outcomes_by_event.
-- Params: $1 batch, $2 how many calls
SELECT avg(extract(epoch FROM c.completed_at - c.started_at)::float8 * 1000) FROM (
    SELECT o.started_at, o.completed_at FROM outcomes o
    WHERE o.batch_id = $1 AND o.event_no > 0 ORDER BY o.event_no DESC LIMIT $2
) c WHERE c.started_at IS NOT NULL;

-- name: pressed
-- Live batches of a shard with a deadline, the nearest first. Uses batches_pressed.
-- Params: $1 shard, $2 how many
SELECT b.*, k.name AS api_key_name
FROM batches b LEFT JOIN api_keys k ON k.api_key_id = b.api_key_id
WHERE b.status IN ('PENDING', 'RUNNING') AND b.deadline IS NOT NULL AND b.shard = $1
ORDER BY b.deadline LIMIT $2;

-- name: overdue
-- Live batches whose deadline has passed, the longest overdue first. Uses batches_pressed.
-- Params: $1 now, $2 how many, $3 and $4 deadline and id of the last one of the page before, or null
SELECT b.*, k.name AS api_key_name
FROM batches b LEFT JOIN api_keys k ON k.api_key_id = b.api_key_id
WHERE b.status IN ('PENDING', 'RUNNING') AND b.deadline IS NOT NULL AND b.deadline <= $1
    AND b.deadline >= coalesce($3, '-infinity'::timestamptz)
    AND ($4::uuid IS NULL OR (b.deadline, b.batch_id) > ($3, $4))
ORDER BY b.deadline, b.batch_id LIMIT $2;

-- name: oldest_waiting
-- When the oldest live batch on each of these resources was made.
-- Params: $1 resources
SELECT f.resource_id, min(b.created_at) AS made_at FROM batches b JOIN batch_flows f ON f.batch_id = b.batch_id
WHERE b.status IN ('PENDING', 'RUNNING') AND f.resource_id = ANY ($1::uuid[])
GROUP BY f.resource_id;
