-- name: workspaces
-- All of them.
SELECT * FROM workspaces ORDER BY name;

-- name: workspace
-- One.
-- Params: $1 workspace
SELECT * FROM workspaces WHERE workspace_id = $1;

-- name: create_workspace
-- A new workspace.
-- Params: $1 workspace, $2 name
INSERT INTO workspaces (workspace_id, name) VALUES ($1, $2) RETURNING *;

-- name: update_workspace
-- Change a workspace; no row when there is none.
-- Params: $1 workspace, $2 name
UPDATE workspaces SET name = $2, updated_at = now() WHERE workspace_id = $1 RETURNING *;

-- name: delete_workspace
-- Delete a workspace.
-- Params: $1 workspace
DELETE FROM workspaces WHERE workspace_id = $1;

-- name: users_of_workspace
-- What stands in the way of its deletion.
-- Params: $1 workspace
SELECT 'environment' AS kind, name FROM environments WHERE workspace_id = $1 ORDER BY name LIMIT 5;

-- name: environments
-- Of one workspace, or all.
-- Params: $1 workspace or null
SELECT * FROM environments WHERE $1::uuid IS NULL OR workspace_id = $1 ORDER BY name, environment_id;

-- name: environment
-- One environment.
-- Params: $1 environment
SELECT * FROM environments WHERE environment_id = $1;

-- name: create_environment
-- A new environment.
-- Params: $1 workspace, $2 environment, $3 name, $4 shard
INSERT INTO environments (workspace_id, environment_id, name, shard) VALUES ($1, $2, $3, $4) RETURNING *;

-- name: update_environment
-- Change an environment; no row when there is none.
-- Params: $1 workspace, $2 environment, $3 name
UPDATE environments SET name = $3, updated_at = now() WHERE environment_id = $2 AND workspace_id = $1 RETURNING *;

-- name: delete_environment
-- Delete an environment.
-- Params: $1 environment
DELETE FROM environments WHERE environment_id = $1;

-- name: users_of_environment
-- What stands in the way of its deletion.
-- Params: $1 environment
(SELECT 'ai-connection' AS kind, name FROM connections WHERE environment_id = $1 ORDER BY name LIMIT 5)
UNION ALL (SELECT 'ai-resource', name FROM resources WHERE environment_id = $1 ORDER BY name LIMIT 5)
UNION ALL (SELECT 'api-key', name FROM api_keys WHERE environment_id = $1 ORDER BY name LIMIT 5)
UNION ALL (SELECT 'batch', batch_id::text FROM batches WHERE environment_id = $1 ORDER BY batch_id LIMIT 5);

-- name: connections
-- Of one environment, or all.
-- Params: $1 environment or null
SELECT * FROM connections WHERE $1::uuid IS NULL OR environment_id = $1 ORDER BY name, connection_id;

-- name: offers_stamp
-- Another number whenever a connection or a resource was made, changed or deleted: so much cheaper to read than they are.
SELECT changes FROM offer_changes WHERE only_row;

-- name: connection
-- One connection.
-- Params: $1 environment, $2 connection
SELECT * FROM connections WHERE environment_id = $1 AND connection_id = $2;

-- name: create_connection
-- A new connection.
-- Params: $1 workspace, $2 environment, $3 connection, $4 name, $5 description, $6 provider, $7 profile, $8 config,
-- $9 encrypted config, $10 allowed models, $11 capacity, $12 max in flight, $13 direct share
INSERT INTO connections (
    workspace_id, environment_id, connection_id, name, description, provider, profile, config, secret_config,
    allowed_models, capacity, max_in_flight, direct_share)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING *;

-- name: update_connection
-- Change a connection; no row when there is none.
-- Params: as create_connection
UPDATE connections SET
    name = $4, description = $5, provider = $6, profile = $7, config = $8, secret_config = $9, allowed_models = $10,
    capacity = $11, max_in_flight = $12, direct_share = $13, version = version + 1, updated_at = now()
WHERE workspace_id = $1 AND environment_id = $2 AND connection_id = $3 RETURNING *;

-- name: delete_connection
-- Delete a connection.
-- Params: $1 environment, $2 connection
DELETE FROM connections WHERE environment_id = $1 AND connection_id = $2;

-- name: users_of_connection
-- What stands in the way of its deletion.
-- Params: $1 environment, $2 connection
SELECT DISTINCT 'ai-resource' AS kind, r.name
FROM resource_targets t JOIN resources r ON r.resource_id = t.resource_id
WHERE t.environment_id = $1 AND t.connection_id = $2 ORDER BY r.name LIMIT 5;

-- name: resources
-- Of one environment, or all, with their targets in order.
-- Params: $1 environment or null
SELECT r.*, t.connection_ids, t.models,
    (SELECT l.quantile_tokens FROM learned_output l WHERE l.resource_id = r.resource_id) AS likely_output_tokens
FROM resources r CROSS JOIN LATERAL (
    SELECT array_agg(t.connection_id ORDER BY t.no) AS connection_ids, array_agg(t.model ORDER BY t.no) AS models
    FROM resource_targets t WHERE t.resource_id = r.resource_id
) t
WHERE $1::uuid IS NULL OR r.environment_id = $1 ORDER BY r.name, r.resource_id;

-- name: resource
-- One, with its targets in order.
-- Params: $1 environment, $2 resource
SELECT r.*, t.connection_ids, t.models,
    (SELECT l.quantile_tokens FROM learned_output l WHERE l.resource_id = r.resource_id) AS likely_output_tokens
FROM resources r CROSS JOIN LATERAL (
    SELECT array_agg(t.connection_id ORDER BY t.no) AS connection_ids, array_agg(t.model ORDER BY t.no) AS models
    FROM resource_targets t WHERE t.resource_id = r.resource_id
) t
WHERE r.environment_id = $1 AND r.resource_id = $2;

-- name: create_resource
-- A new resource.
-- Params: $1 workspace, $2 environment, $3 resource, $4 name, $5 description, $6 spill, $7 capacity,
-- $8 enforce capacity, $9 max in flight, $10 time-out in ms, $11 max retries, $12 priority, $13 default arguments
INSERT INTO resources (
    workspace_id, environment_id, resource_id, name, description, spill, capacity, enforce_capacity, max_in_flight,
    timeout_ms, max_retries, priority, default_args)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING resource_id;

-- name: update_resource
-- Change a resource; no row when there is none.
-- Params: as create_resource
UPDATE resources SET
    name = $4, description = $5, spill = $6, capacity = $7, enforce_capacity = $8, max_in_flight = $9,
    timeout_ms = $10, max_retries = $11, priority = $12, default_args = $13, version = version + 1, updated_at = now()
WHERE workspace_id = $1 AND environment_id = $2 AND resource_id = $3 RETURNING resource_id;

-- name: clear_targets
-- Drop a resource's targets before the new ones are written.
-- Params: $1 resource
DELETE FROM resource_targets WHERE resource_id = $1;

-- name: add_targets
-- A resource's targets.
-- Params: $1 environment, $2 resource, $3 connections, $4 models, both in order
INSERT INTO resource_targets (environment_id, resource_id, no, connection_id, model)
SELECT $1, $2, t.ord - 1, t.connection_id, t.model
FROM unnest($3::uuid[], $4::text[]) WITH ORDINALITY AS t (connection_id, model, ord);

-- name: learn_outputs
-- Blend what a worker learned into what is stored. Old answers weigh at most 500, so that a change shows soon.
-- Params: $1 resources, $2 batches (null: the figure is the resource's), $3 quantiles in tokens, $4 answers seen since
-- the worker's last word
WITH told AS (
    SELECT u.* FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::integer[])
        AS u (resource_id, batch_id, quantile_tokens, seen)
), of_batches AS (
    INSERT INTO learned_batch_output AS l (batch_id, resource_id, quantile_tokens, seen)
    SELECT t.batch_id, t.resource_id, t.quantile_tokens, least(t.seen, 1000000)
    FROM told t
    WHERE EXISTS (SELECT FROM batch_flows f WHERE f.batch_id = t.batch_id AND f.resource_id = t.resource_id)
    ORDER BY t.batch_id, t.resource_id
    ON CONFLICT (batch_id, resource_id) DO UPDATE SET
        quantile_tokens = blended_length(l.quantile_tokens, l.seen, EXCLUDED.quantile_tokens, EXCLUDED.seen),
        seen = least(l.seen::bigint + EXCLUDED.seen, 1000000),
        updated_at = now()
)
INSERT INTO learned_output AS l (resource_id, quantile_tokens, seen)
SELECT t.resource_id, t.quantile_tokens, least(t.seen, 1000000)
FROM told t
WHERE t.batch_id IS NULL AND EXISTS (SELECT FROM resources r WHERE r.resource_id = t.resource_id)
ORDER BY t.resource_id
ON CONFLICT (resource_id) DO UPDATE SET
    quantile_tokens = blended_length(l.quantile_tokens, l.seen, EXCLUDED.quantile_tokens, EXCLUDED.seen),
    seen = least(l.seen::bigint + EXCLUDED.seen, 1000000),
    updated_at = now();

-- name: lock_resource
-- Wait for creations that use it; later ones wait for us.
-- Params: $1 environment, $2 resource
SELECT resource_id FROM resources WHERE environment_id = $1 AND resource_id = $2 FOR UPDATE;

-- name: users_of_resource
-- What stands in the way of its deletion: keys that name it, batches that still run on it.
-- Params: $1 environment, $2 resource
(SELECT 'api-key' AS kind, name FROM api_keys WHERE environment_id = $1 AND $2 = ANY (resources) ORDER BY name LIMIT 5)
UNION ALL
(SELECT 'batch', b.batch_id::text FROM batch_flows f JOIN batches b ON b.batch_id = f.batch_id
 WHERE f.resource_id = $2 AND b.completed_at IS NULL ORDER BY b.batch_id LIMIT 5);

-- name: delete_resource
-- Delete a resource.
-- Params: $1 environment, $2 resource
DELETE FROM resources WHERE environment_id = $1 AND resource_id = $2;

-- name: api_keys
-- Of one environment, or all.
-- Params: $1 environment or null
SELECT * FROM api_keys WHERE $1::uuid IS NULL OR environment_id = $1 ORDER BY name, api_key_id;

-- name: api_key
-- One API key.
-- Params: $1 environment, $2 key
SELECT * FROM api_keys WHERE environment_id = $1 AND api_key_id = $2;

-- name: live_callers
-- From where the open batches of a key came, each once; '' where that was not noted. Uses batches_open.
-- Params: $1 shard, $2 key
SELECT DISTINCT coalesce(caller, '') AS caller FROM batches
WHERE shard = $1 AND status IN ('PENDING', 'RUNNING') AND api_key_id = $2;

-- name: api_key_by_hash
-- The key that a caller showed.
-- Params: $1 SHA-256 of the key
SELECT * FROM api_keys WHERE key_hash = $1;

-- name: create_api_key
-- A new API key.
-- Params: $1 workspace, $2 environment, $3 key id, $4 name, $5 description, $6 enabled, $7 resources, $8 labels,
-- $9 capacity, $10 max in flight, $11 scopes, $12 masked, $13 SHA-256 of the key
INSERT INTO api_keys (
    workspace_id, environment_id, api_key_id, name, description, enabled, resources, labels, capacity,
    max_in_flight, scopes, masked, key_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING *;

-- name: update_api_key
-- Change an API key; no row when there is none.
-- Params: as create_api_key; $13 null keeps the secret and its masked form
UPDATE api_keys SET
    name = $4, description = $5, enabled = $6, resources = $7, labels = $8, capacity = $9, max_in_flight = $10,
    scopes = $11, masked = CASE WHEN $13::bytea IS NULL THEN masked ELSE $12 END, key_hash = coalesce($13, key_hash),
    version = version + 1, updated_at = now()
WHERE workspace_id = $1 AND environment_id = $2 AND api_key_id = $3 RETURNING *;

-- name: delete_api_key
-- Delete an API key.
-- Params: $1 environment, $2 key
DELETE FROM api_keys WHERE environment_id = $1 AND api_key_id = $2;
