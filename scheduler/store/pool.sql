-- name: pool_definitions
-- Of one environment or all.
-- Params: $1 environment or null
SELECT * FROM pool_definitions WHERE $1::uuid IS NULL OR environment_id = $1;

-- name: put_pools
-- Replace an environment's pools.
-- Params: $1 workspace, $2 environment, $3 pools as JSON
INSERT INTO pool_definitions AS p (workspace_id, environment_id, pools) VALUES ($1, $2, $3::jsonb)
ON CONFLICT (environment_id) DO UPDATE SET pools = EXCLUDED.pools, version = p.version + 1, updated_at = now()
RETURNING *;
