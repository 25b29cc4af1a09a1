-- name: park
-- Note why nothing may be sent through a connection, or to one model of it, until a time; the end may be put off, and
-- the first time stands while it lasts. One that was over an hour ago begins anew: had its reason lasted, the call that
-- was tried then would have renewed it.
-- Params: $1 connection, $2 model ('': all), $3 code, $4 reason, $5 now, $6 due
INSERT INTO connection_parkings AS p (connection_id, model, code, reason, parked_at, due_at)
SELECT c.connection_id, $2, $3, $4, $5, $6 FROM connections c WHERE c.connection_id = $1
ON CONFLICT (connection_id, model) DO UPDATE SET
    code = EXCLUDED.code, reason = EXCLUDED.reason, due_at = EXCLUDED.due_at,
    parked_at = CASE WHEN p.due_at < $5 - interval '1 hour' THEN EXCLUDED.parked_at ELSE p.parked_at END,
    times = CASE WHEN p.due_at < $5 - interval '1 hour' THEN 1 ELSE p.times + 1 END;

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
