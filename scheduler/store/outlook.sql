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
-- Params: $1 now, $2 how many
SELECT b.*, k.name AS api_key_name
FROM batches b LEFT JOIN api_keys k ON k.api_key_id = b.api_key_id
WHERE b.status IN ('PENDING', 'RUNNING') AND b.deadline IS NOT NULL AND b.deadline <= $1
ORDER BY b.deadline LIMIT $2;

-- name: oldest_waiting
-- When the oldest live batch on each of these resources was made.
-- Params: $1 resources
SELECT f.resource_id, min(b.created_at) AS made_at FROM batches b JOIN batch_flows f ON f.batch_id = b.batch_id
WHERE b.status IN ('PENDING', 'RUNNING') AND f.resource_id = ANY ($1::uuid[])
GROUP BY f.resource_id;

-- name: park
-- Note why nothing may be sent through a connection, or to one model of it, until a time; the end may be put off, and
-- the first time stands while it lasts.
-- Params: $1 connection, $2 model ('': all), $3 code, $4 reason, $5 now, $6 due
INSERT INTO connection_parkings AS p (connection_id, model, code, reason, parked_at, due_at)
SELECT c.connection_id, $2, $3, $4, $5, $6 FROM connections c WHERE c.connection_id = $1
ON CONFLICT (connection_id, model) DO UPDATE SET
    code = EXCLUDED.code, reason = EXCLUDED.reason, due_at = EXCLUDED.due_at, times = p.times + 1;

-- name: parked
-- What is parked now, longest first.
-- Params: $1 environment (null: all), $2 connection (null: all), $3 now
SELECT p.*, c.workspace_id, c.environment_id, c.name AS connection_name
FROM connection_parkings p JOIN connections c ON c.connection_id = p.connection_id
WHERE ($1::uuid IS NULL OR c.environment_id = $1) AND ($2::uuid IS NULL OR p.connection_id = $2) AND p.due_at > $3
ORDER BY p.parked_at, p.connection_id, p.model;

-- name: unpark
-- Forget why a connection was parked; answers what for.
-- Params: $1 connection
DELETE FROM connection_parkings WHERE connection_id = $1 RETURNING model;

-- name: forget_parkings
-- Those that were over an hour ago: had the reason lasted, they would have been renewed.
-- Params: $1 now
DELETE FROM connection_parkings WHERE due_at < $1::timestamptz - interval '1 hour';
